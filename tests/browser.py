"""Headless Chromium, driven over its own debugging protocol: what is on a page, and how it looks."""

import asyncio
import base64
import io
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request

import aiohttp
import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Curves are drawn by the graphics card where Chromium thinks there is one, and then stay blank without one:
# --disable-3d-apis.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-3d-apis",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
# Elements that match, also those inside the shadow roots of TensorBoard's components: text, and place on the page.
FIND = """
(() => {
  const found = [];
  const walk = root => {
    for (const element of root.querySelectorAll("*")) {
      if (element.matches(%r)) {
        const box = element.getBoundingClientRect();
        found.push({text: element.innerText || "", x: box.x, y: box.y, width: box.width, height: box.height,
                    source: element.src || "", loaded: element.complete !== false && (element.naturalWidth ?? 1) > 0});
      }
      if (element.shadowRoot) walk(element.shadowRoot);
    }
  };
  walk(document);
  return found;
})()
"""


def chromium():
    """Path of a browser, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def look(url, wanted, size=(1600, 1400), limit=60):
    """Open a page and wait until it shows what is wanted.

    Args:
        url: of the page.
        wanted: function of `find(selector) -> elements`; what it returns is waited for to be true.
        size: of the window, in pixels.
        limit: seconds.

    Returns:
        What `wanted` returned in the end, true or not, and the `(height, width, 3)` screenshot.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            *FLAGS,
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
        ]
        browser = subprocess.Popen(
            [chromium(), *flags, "about:blank"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        try:
            for line in browser.stderr:
                if match := re.search(r"listening on ws://([^/]+)/", line):
                    break
            else:
                raise RuntimeError("Chromium ended before it could be talked to")
            return asyncio.run(_look(match[1], url, wanted, size, limit))
        finally:
            browser.kill()
            browser.wait()
            browser.stderr.close()


async def _look(address, url, wanted, size, limit):
    request = urllib.request.Request(f"http://{address}/json/new?about:blank", method="PUT")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as answer:
        page = re.search(r'"webSocketDebuggerUrl": "(.+?)"', answer.read().decode())[1]
    async with aiohttp.ClientSession() as session, session.ws_connect(page, max_msg_size=0) as socket:
        number = 0

        async def call(method, **parameters):
            nonlocal number
            number += 1
            await socket.send_json({"id": number, "method": method, "params": parameters})
            while True:
                answer = await asyncio.wait_for(socket.receive_json(), limit)
                if answer.get("id") == number:
                    assert "error" not in answer, answer
                    return answer["result"]

        async def find(selector):
            return (await call("Runtime.evaluate", expression=FIND % selector, returnByValue=True))["result"]["value"]

        async def shot():
            picture = await call("Page.captureScreenshot", format="png")
            return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["data"]))).convert("RGB"))

        await call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        await call("Page.navigate", url=url)
        end = time.monotonic() + limit
        while not await wanted(find) and time.monotonic() < end:
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.5)  # what has appeared may still move
        return await wanted(find), await shot()


def crop(screenshot, element):
    """The element's pixels, of what is in the window."""
    left, top = max(0, round(element["x"])), max(0, round(element["y"]))
    return screenshot[top : round(element["y"] + element["height"]), left : round(element["x"] + element["width"])]
