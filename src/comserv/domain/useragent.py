"""What a browser says it is, in words that a person knows: `Firefox 140 on Linux`."""

import re

LINK = "A sign-in link"
_BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Vivaldi", r"Vivaldi/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Chromium", r"Chromium/(\d+)"),
    ("Chrome", r"(?:HeadlessChrome|Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+).*Safari/"),
)
_SYSTEMS = (
    ("iPad", r"iPad"),
    ("iPhone", r"iPhone"),
    ("Android", r"Android"),
    ("ChromeOS", r"CrOS"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux|X11"),
)


def device_of(user_agent: str) -> str:
    """The browser and its system; the first word of what is neither, for example `curl/8.9`."""
    if user_agent == LINK:
        return LINK
    browser = next((f"{name} {found[1]}" for name, how in _BROWSERS if (found := re.search(how, user_agent))), "")
    system = next((name for name, how in _SYSTEMS if re.search(how, user_agent)), "")
    if browser or system:
        return f"{browser or 'A browser'} on {system}" if system else browser
    return user_agent.split(" ")[0][:40] or "An unknown program"
