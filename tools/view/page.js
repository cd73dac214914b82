"use strict";
// The page's address holds its state: #entry/step. Names come from the data and are only ever set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const started = document.documentElement.dataset.started;
const AHEAD = 8; // pictures that are fetched before they are asked for
let numbers = []; // entries of the list, in its order, also those that it does not show yet
let shown = 0; // entries that the list shows
let entry = -1;
let wanted = -1; // the entry that was asked for last: answers to earlier questions come too late
let step = 0;
let detail = null;
let timer = 0;

const make = (tag, words = "", name = "") => {
  const node = document.createElement(tag);
  node.textContent = words;
  if (name) node.className = name;
  return node;
};
const pictureOf = (number, at) => `picture/${number}/${at}?v=${started}`;

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function trouble(words) {
  $("trouble").hidden = !words;
  $("trouble").textContent = words;
}

// ---- the list

async function list(more) {
  const query = new URLSearchParams({ split: $("split").value, text: $("text").value, first: more ? shown : 0 });
  const found = await ask(`entries?${query}`);
  if (!$("split").options.length) {
    const all = Object.values(found.splits).reduce((sum, count) => sum + count, 0);
    $("split").append(new Option(`all (${all})`, ""));
    for (const [name, count] of Object.entries(found.splits)) $("split").append(new Option(`${name} (${count})`, name));
    const first = ["test", "val"].find((name) => found.predicted.includes(name));
    if (first && !location.hash) {
      $("split").value = first;
      return list(false);
    }
  }
  if (!more) {
    $("list").replaceChildren();
    shown = 0;
  }
  numbers = found.numbers;
  for (const one of found.entries) {
    const line = make("li");
    const button = make("button", one.key);
    button.type = "button";
    button.dataset.entry = one.number;
    button.append(make("small", [one.split, one.words].filter(Boolean).join(" · ")));
    button.onclick = () => open(one.number, 0);
    line.append(button);
    $("list").append(line);
  }
  shown += found.entries.length;
  $("count").textContent = `${found.of} entries`;
  $("more").hidden = shown >= found.of;
  mark();
  return found;
}

function mark() {
  for (const button of $("list").querySelectorAll("button")) {
    const own = Number(button.dataset.entry) === entry;
    if (own) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    if (own) {
      const box = $("list"), top = button.offsetTop - box.offsetTop;
      if (top < box.scrollTop || top + button.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = top - 20;
    }
  }
}

function turn(by) {
  if (!numbers.length) return;
  const at = numbers.indexOf(wanted);
  open(numbers[at < 0 ? 0 : Math.min(Math.max(at + by, 0), numbers.length - 1)], 0);
}

// ---- one entry

async function open(number, at) {
  stop();
  wanted = number;
  let found;
  try {
    found = await ask(`entry/${number}`);
  } catch (error) {
    if (number === wanted) trouble(error.message);
    return;
  }
  if (number !== wanted) return;
  trouble("");
  detail = found;
  entry = number;
  $("key").textContent = found.key;
  fillTable($("facts"), found.facts.map(([name, words]) => [make("th", name), make("td", words)]));
  fillAnswers(found.answers);
  fillLegend(found);
  fillMatches(found);
  $("time").hidden = found.steps < 2;
  $("step").max = found.steps - 1;
  $("strips").replaceChildren(...found.strips.map((strip) => band(strip.name, 22, (pen, w, h) => drawStrip(pen, w, h, strip))));
  const units = [...new Set(found.curves.map((curve) => curve.unit))];
  $("curves").replaceChildren(...units.map((unit) => {
    const own = found.curves.filter((curve) => curve.unit === unit);
    return band(`${own.map((curve) => curve.name).join(", ")} (${unit})`, 90, (pen, w, h) => drawCurves(pen, w, h, own));
  }));
  mark();
  go(at);
}

function fillTable(table, rows, head) {
  table.replaceChildren();
  if (head) {
    const top = make("thead"), line = make("tr");
    for (const words of head) {
      const cell = make("th", words);
      cell.scope = "col";
      line.append(cell);
    }
    top.append(line);
    table.append(top);
  }
  for (const cells of rows) {
    const line = make("tr");
    line.append(...cells);
    table.append(line);
  }
}

function fillAnswers(answers) {
  $("answers").hidden = !answers.length;
  const predicted = answers.some((one) => one.predicted);
  const rows = answers.map((one) => {
    const cells = [make("th", one.name), make("td", one.labelled)];
    const kind = one.right === null ? "" : one.right ? "right" : "wrong";
    if (predicted) cells.push(make("td", one.predicted + (kind ? (one.right ? " ✓" : " ✗") : ""), kind));
    return cells;
  });
  fillTable($("answers"), rows, predicted ? ["", "labelled", "predicted"] : ["", "labelled"]);
}

function fillLegend(found) {
  const parts = [];
  const add = (names, colours, shape) => names.forEach((name, i) => {
    const part = make("span"), chip = make("i", "", shape);
    chip.style.background = colours[i];
    part.append(chip, make("b", name));
    part.lastChild.style.fontWeight = 400;
    parts.push(part);
  });
  if (found.strips.length) add(found.strips[0].names, found.strips[0].colours, "square");
  if (found.points.length) {
    const means = { labelled: "discs: labelled points (rings: unsure)", predicted: "crosses: predicted points" };
    parts.push(make("p", found.points.map((set) => means[set.name] || set.name).join(", ")));
    add(found.points[0].names, found.points[0].colours, "");
  }
  add(found.curves.map((curve) => curve.name), found.curves.map((curve) => curve.colour), "square");
  $("legend").replaceChildren(...parts);
}

function fillMatches(found) {
  $("others").hidden = !found.matches.length;
  $("others-head").textContent = found.matches_head;
  $("matches").replaceChildren(...found.matches.map((one) => {
    const button = make("button"), picture = make("img");
    button.type = "button";
    picture.src = pictureOf(one.entry, 0);
    picture.alt = "";
    picture.loading = "lazy";
    const sign = one.right === null ? "" : one.right ? " ✓" : " ✗";
    button.append(picture, make("span", one.words + sign, one.right === null ? "" : one.right ? "right" : "wrong"));
    button.onclick = () => open(one.entry, 0);
    return button;
  }));
}

// ---- one step

function go(at) {
  step = Math.min(Math.max(at, 0), detail.steps - 1);
  $("picture").src = pictureOf(entry, step);
  const words = [];
  if (detail.unit) words.push(`${detail.unit} ${step}`);
  if (detail.captions[step]) words.push(detail.captions[step]);
  for (const strip of detail.strips) words.push(`${strip.name} ${strip.names[strip.values[step]] ?? "nothing"}`);
  for (const curve of detail.curves) words.push(`${curve.name} ${curve.values[step] ?? "none"}`);
  $("caption").textContent = words.join(" · ");
  $("picture").alt = `${detail.key} ${$("caption").textContent}`;
  $("step").value = step;
  $("at").textContent = `${step + 1} of ${detail.steps}`;
  history.replaceState(null, "", `#${entry}/${step}`);
  drawBands();
  for (let i = 1; i <= AHEAD && step + i < detail.steps; i++) new Image().src = pictureOf(entry, step + i);
}

// ---- over time

function play() {
  if (timer) return stop();
  if (step === detail.steps - 1) go(0);
  $("play").textContent = "stop";
  timer = setInterval(() => {
    if (!$("picture").complete) return; // waits for the picture rather than leave it out
    if (step === detail.steps - 1) stop();
    else go(step + 1);
  }, 1000 / detail.rate);
}

function stop() {
  clearInterval(timer);
  timer = 0;
  $("play").textContent = "play";
}

// ---- keys and the beginning

const KEYS = {
  ArrowLeft: (event) => go(step - (event.shiftKey ? 10 : 1)),
  ArrowRight: (event) => go(step + (event.shiftKey ? 10 : 1)),
  Home: () => go(0),
  End: () => go(detail.steps - 1),
  " ": () => { if (detail.steps > 1) play(); },
  n: () => turn(1),
  p: () => turn(-1),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLSelectElement || event.target.type === "search";
  const onButton = event.target instanceof HTMLButtonElement && event.key === " "; // a button's own key
  if (typing || onButton || event.ctrlKey || event.metaKey || event.altKey || !detail || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key](event);
});
$("picture").onload = drawPoints;
$("picture").onerror = async () => trouble(await (await fetch($("picture").src)).text());
window.onresize = () => { if (detail) { drawBands(); drawPoints(); } };
$("step").oninput = () => go(Number($("step").value));
$("play").onclick = play;
$("before").onclick = () => turn(-1);
$("after").onclick = () => turn(1);
$("more").onclick = () => list(true);
const again = async () => { await list(false); if (numbers.length && !numbers.includes(entry)) open(numbers[0], 0); };
$("split").onchange = again;
let typed = 0;
$("text").oninput = () => { clearTimeout(typed); typed = setTimeout(again, 200); };
window.onhashchange = () => {
  const [number, at] = location.hash.slice(1).split("/").map(Number);
  if (number !== entry || at !== step) open(number, at || 0);
};

(async () => {
  try {
    await list(false);
  } catch (error) {
    trouble(error.message);
    return;
  }
  const [number, at] = location.hash.slice(1).split("/").map(Number);
  if (location.hash && Number.isInteger(number)) open(number, at || 0);
  else if (numbers.length) open(numbers[0], 0);
})();
