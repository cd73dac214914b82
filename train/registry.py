"""Objects by name, each imported when it is first asked for."""

from collections import UserDict
from collections.abc import Callable
from importlib import import_module


def resolve(target: str) -> object:
    """The object that "module:attribute" names."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def deferred(target: str) -> Callable:
    """The function that "module:attribute" names, imported when it is called: a record of functions stays light to import."""

    def call(*args: object, **options: object) -> object:
        return resolve(target)(*args, **options)

    return call


class Registry(UserDict):
    """name -> object; a value of the form "module:attribute" is imported at the first access and kept.

    So a command loads the libraries of the entry it uses and of no other. An object may be put in directly. `in`, iteration
    and `keys` import nothing; `items` and `values` import everything.

    Raises:
        KeyError: of an unknown name, with the names there are.
    """

    def __getitem__(self, name: str) -> object:
        if name not in self.data:
            raise KeyError(f"{name!r} must be one of {', '.join(self.data)}")
        value = self.data[name]
        if isinstance(value, str):
            value = self.data[name] = resolve(value)
        return value
