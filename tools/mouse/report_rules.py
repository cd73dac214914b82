"""The part of a mouse report on labels from probabilities: argmax beside the rules that validation leads to."""

from collections.abc import Sequence

from tarpon.tools.html.document import number, paragraph, table
from tarpon.tools.mouse.rule_scores import list_rare, score_rule
from tarpon.tools.record import Record
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.mouse.decision.rule import RULES, fit_rule
from tarpon.train.tasks.mouse.metrics.trial import Trial, load_trials


def format_rules(record: Record, trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    """HTML.

    Args:
        trials: of test; of val there is nothing to tell, for rules are fitted to it.
    """
    if record.split != "test" or "val" not in record.predictions or not any((trial.actions >= 0).any() for trial in trials):
        return paragraph(
            "Rules are fitted to validation and scored on test: it takes predictions of both, and labelled frames in test."
        )
    fitted_to, named, _ = load_trials(record.predictions["val"])
    if list(named) != list(classes) or not any((trial.actions >= 0).any() for trial in fitted_to):
        return paragraph("Validation has no labelled frames of these classes, so there is nothing to fit a rule to.")
    rare, rules = list_rare(trials, classes=classes), {name: fit_rule(name, fitted_to, classes=classes) for name in RULES}
    columns = ["macro_f1", *(f"f1_{key}" for key in score_keys(rare)), "segment_f1_50", "edit"]
    scored = {name: score_rule(rule, trials, classes=classes) for name, rule in rules.items()}
    rows = [(name, *(number(scores[column]) for column in columns)) for name, scores in scored.items()]
    header = ("labels by", "macro F1", *(f"F1 of {name}" for name in rare), "F1@50", "edit")
    groups = len({trial.group for trial in fitted_to})
    words = (
        "Test, labelled by each rule of tarpon predict mouse --decide; all other scores of this page are by argmax. The rules "
        f"were fitted to the {len(fitted_to)} trials of validation, of {groups} group{'s' * (groups != 1)}, and what they did "
        "there stands below: choose by that, not by this table, or test is no test any more."
    )
    chosen = "".join(paragraph(rule.said, kind="soft") for name, rule in rules.items() if name != "argmax")
    return table(header, rows) + paragraph(words, kind="soft") + chosen
