"""What the browser tests share: a page that records its requests and complaints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from playwright.sync_api import Browser, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

READY = ".lens[data-state=ready]"
EXPLORER = "document.querySelector('.lens').explorer"
# How a map is looked at until somebody changes it.
LOOK = {
    "direction": "from",
    "measure": "attention",
    "baseline": "uniform",
    "temperature": 1,
    "scale": "shared",
    "log": False,
    "colours": "inferno",
    "opacity": 0.7,
    "style": "overlay",
    "smooth": False,
    "arrows": False,
    "all_layers": False,
}


@dataclass
class Visit:
    """An open page, with the addresses it asked for and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def state(self) -> dict:
        return self.page.evaluate(f"{EXPLORER}.state()")

    def pins(self) -> list[list[int]]:
        return self.state()["pins"]

    def ready(self) -> Visit:
        try:
            self.page.wait_for_selector(READY)
        except PlaywrightTimeout:
            said = self.page.locator(".message").all_inner_texts()
            raise AssertionError(f"no picture: {said}, {self.complaints}") from None
        return self

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Coordinates on the screen of a place on the large image, given from 0 to 1."""
        box = self.page.locator(".picture").bounding_box()
        assert box
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def hover(self, x: float, y: float) -> None:
        self.page.mouse.move(*self.at(x, y))

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.at(x, y))

    def frame(self) -> None:
        """Wait until the next frame is painted."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def set(self, **changes: object) -> None:
        """Change the state as a control does, and wait until it is shown."""
        self.page.evaluate(f"(changes) => {EXPLORER}.set(changes)", changes)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is shown."""
        self.page.wait_for_function(f"!{EXPLORER}.pending()")
        self.page.wait_for_function("document.querySelector('.lens').dataset.waiting !== 'true'")
        self.frame()

    def preview(self) -> dict | None:
        """The cell {row, col} whose map lies over the large image."""
        self.frame()
        return self.page.evaluate(f"{EXPLORER}.preview")


def with_query(address: str, query: str) -> str:
    return f"{address.rstrip('/')}/?{query}"


def shown(opened: Visit, pane: int = 0) -> np.ndarray:
    """(H, W, 3) of a pane's large image, pixel by pixel."""
    height, width, data = opened.page.evaluate(
        """(pane) => {
          const canvas = document.querySelectorAll(".picture > .image")[pane];
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          return [height, width, Array.from(data)];
        }""",
        pane,
    )
    return np.array(data, np.uint8).reshape(height, width, 4)[:, :, :3]


@contextmanager
def visit(
    chromium: Browser, address: str, width: int = 1280, height: int = 900, ratio: float = 1, **more
) -> Iterator[Visit]:
    """Open an address in a fresh browser profile and wait for the picture."""
    context = chromium.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=ratio, **more
    )
    context.set_default_timeout(20_000)
    visit = Visit(context.new_page())
    visit.page.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on(
        "console",
        lambda message: (
            visit.complaints.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    try:
        visit.page.goto(address)
        yield visit.ready()
    finally:
        context.close()
