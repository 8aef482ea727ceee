"""Every drawing that the pages may use: icons of @tabler/icons by name, and the glyphs of our own state vocabulary.

Plain data without imports: `build_frontend.py` reads this file to make the one sprite, `static/vendor/icons.svg`.
"""
# ruff: noqa: E501 - paths of drawings do not get clearer by breaking them

ICONS = (
    "ban",
    "bolt",
    "chevron-down",
    "chevron-right",
    "chevron-up",
    "copy",
    "dots",
    "download",
    "external-link",
    "history",
    "key",
    "layout-dashboard",
    "list-check",
    "logout",
    "moon",
    "pencil",
    "player-pause",
    "player-play",
    "player-stop",
    "player-track-next",
    "plus",
    "power",
    "refresh",
    "rotate-clockwise",
    "search",
    "server",
    "server-2",
    "trash",
    "user-circle",
    "users",
    "x",
)

# Drawn on 16 x 16. Every state differs by shape, not only by hue.
GLYPHS = {
    "running": '<path stroke="none" fill="currentColor" fill-rule="evenodd" d="M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1ZM6.2 5.1v5.8L11.3 8Z"/>',
    "stopped": '<rect x="2.8" y="2.8" width="10.4" height="10.4" rx="2.2"/>',
    "paused": '<rect x="3" y="2.5" width="3.6" height="11" rx="1" fill="currentColor" stroke="none"/><rect x="9.4" y="2.5" width="3.6" height="11" rx="1" fill="currentColor" stroke="none"/>',
    "asleep": '<path d="M13.4 9.9A5.9 5.9 0 1 1 6.1 2.6a4.9 4.9 0 0 0 7.3 7.3Z"/>',
    "locked": '<rect x="2.6" y="7" width="10.8" height="7.4" rx="1.6" fill="currentColor" stroke="none"/><path d="M5 7V4.9a3 3 0 0 1 6 0V7"/>',
    "unknown": '<circle cx="8" cy="8" r="6.3" stroke-dasharray="2.4 2.55"/><path stroke-width="1.5" d="M6.3 6.5a1.75 1.75 0 1 1 2.5 1.6c-.5.25-.8.5-.8 1.1"/><circle cx="8" cy="11.3" r=".9" fill="currentColor" stroke="none"/>',
    "template": '<rect x="2" y="5.2" width="8.8" height="8.8" rx="1.6"/><path d="M5.2 2h7.2A1.6 1.6 0 0 1 14 3.6v7.2"/>',
    "fault": '<path stroke="none" fill="currentColor" fill-rule="evenodd" d="M8 1.2 15.2 14H.8ZM7.2 5.6h1.6l-.2 4.3H7.4ZM8 10.9a1 1 0 1 0 0 2 1 1 0 0 0 0-2Z"/>',
    "busy": '<circle cx="8" cy="8" r="6" opacity=".28"/><path d="M8 2a6 6 0 0 1 6 6"/>',
    "queued": '<circle cx="8" cy="8" r="6.2"/><path d="M8 4.6V8l2.2 1.4"/>',
    "succeeded": '<circle cx="8" cy="8" r="6.4"/><path d="m5.2 8.2 2 2 3.7-4.1"/>',
    "failed": '<path stroke="none" fill="currentColor" fill-rule="evenodd" d="M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1ZM5.9 4.8 4.8 5.9 6.9 8l-2.1 2.1 1.1 1.1L8 9.1l2.1 2.1 1.1-1.1L9.1 8l2.1-2.1-1.1-1.1L8 6.9Z"/>',
    "cancelled": '<circle cx="8" cy="8" r="6.2"/><path d="m3.8 12.2 8.4-8.4"/>',
    "waiting": '<circle cx="8" cy="8" r="4.2"/>',
    "held": '<circle cx="8" cy="8" r="6.2" stroke-dasharray="2.4 2.5"/><path d="M6.5 6v4M9.5 6v4"/>',
    "blocker": '<path stroke="none" fill="currentColor" fill-rule="evenodd" d="M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1ZM4.4 7.2v1.6h7.2V7.2Z"/>',
    "warning": '<path stroke="none" fill="currentColor" fill-rule="evenodd" d="M8 1.2 15.2 14H.8ZM7.2 5.6h1.6l-.2 4.3H7.4ZM8 10.9a1 1 0 1 0 0 2 1 1 0 0 0 0-2Z"/>',
    "note": '<circle cx="8" cy="8" r="6.4"/><path d="M8 7.4v3.4"/><circle cx="8" cy="5.1" r=".9" fill="currentColor" stroke="none"/>',
    "up": '<circle cx="8" cy="8" r="4.6" fill="currentColor" stroke="none"/>',
    "slow": '<circle cx="8" cy="8" r="5"/><path d="M8 3a5 5 0 0 1 0 10Z" fill="currentColor" stroke="none"/>',
    "down": '<path d="M8 1.6 14.4 8 8 14.4 1.6 8Z"/><path d="m6.2 6.2 3.6 3.6M9.8 6.2 6.2 9.8"/>',
}
