"""What the recorder changed in libraries, and how each was before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from flux.recorder.fault import failing_open


class Patches:
    """Attributes that were replaced."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any, bool]] = []

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute of a class or module."""
        own = name in vars(owner)
        self._before.append((owner, name, vars(owner)[name] if own else None, own))
        setattr(owner, name, value)

    def restore(self) -> None:
        """Put everything back, the last first."""
        while self._before:
            owner, name, value, own = self._before.pop()
            if own:
                setattr(owner, name, value)
            else:
                delattr(owner, name)


class Hooks(MetaPathFinder):
    """Calls a function for a module when the application imports it, or at once when it has."""

    def __init__(self, on_import: dict[str, Callable[[ModuleType], None]]) -> None:
        self._on_import = on_import
        self._done: set[str] = set()
        self._finding: set[str] = set()

    def install(self) -> None:
        """Begin: modules that are there, then those to come."""
        for name in self._on_import:
            module = sys.modules.get(name)
            if module is not None and getattr(module.__spec__, "_initializing", False) is False:
                self.run(name, module)
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """End."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def run(self, name: str, module: ModuleType) -> None:
        """Call the function of a module, once."""
        if name not in self._done:
            self._done.add(name)
            with failing_open(f"the hook of {name}"):
                self._on_import[name](module)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find what the other finders find, and hear when it is loaded."""
        if name not in self._on_import or name in self._done or name in self._finding:
            return None
        self._finding.add(name)
        try:
            for finder in sys.meta_path:
                if finder is self or not hasattr(finder, "find_spec"):
                    continue
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if spec.loader is not None:
                        spec.loader = _Telling(spec.loader, self, name)
                    return spec
            return None
        finally:
            self._finding.discard(name)


class _Telling(Loader):
    """The module's own loader, which also says when it is done."""

    def __init__(self, loader: Any, hooks: Hooks, name: str) -> None:
        self._loader, self._hooks, self._name = loader, hooks, name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._loader, "create_module", None)
        made: ModuleType | None = create(spec) if create is not None else None
        return made

    def exec_module(self, module: ModuleType) -> None:
        # What looks at the loader afterwards finds the module's own.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._hooks.run(self._name, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
