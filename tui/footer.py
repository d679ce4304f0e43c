"""The last line: the keys of the focused pane and of everywhere, in one widget.

Textual's own has a widget for each key, makes all of them anew when the focus moves, and took a third of the
time in which a view appears.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget


class Footer(Widget):
    """Keys with what they do; a click presses one."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"footer--key", "footer--description"}
    DEFAULT_CSS = """
    Footer { dock: bottom; height: 1; background: $footer-background; text-wrap: nowrap; }
    Footer > .footer--key {
        color: $footer-key-foreground; background: $footer-key-background; text-style: bold;
    }
    Footer > .footer--description {
        color: $footer-description-foreground; background: $footer-description-background;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[int, Binding]] = []
        """The columns before which the keys end."""

    def on_mount(self) -> None:
        """Follow what can be done."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if screen.app.app_focus:
            self.refresh()

    def render(self) -> Text:
        """Draw one key of each action."""
        key_style = self.get_component_rich_style("footer--key")
        style = self.get_component_rich_style("footer--description")
        text = Text(no_wrap=True, end="")
        self._places = []
        actions: set[str] = set()
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            if not binding.show or binding.action in actions:
                continue
            actions.add(binding.action)
            text.append(" " if self._places else "")
            start = len(text)
            text.append(self.app.get_key_display(binding), key_style)
            text.append(f" {binding.description}", style)
            if not enabled:
                text.stylize("dim", start)
            self._places.append((text.cell_len, binding))
        return text

    def on_click(self, event: events.Click) -> None:
        """Press the key."""
        for end, binding in self._places:
            if event.x < end:
                self.app.simulate_key(binding.key)
                return
