"""Objects by name, each imported when it is first asked for."""

from collections import UserDict
from importlib import import_module


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
            module, _, attribute = value.partition(":")
            value = self.data[name] = getattr(import_module(module), attribute)
        return value
