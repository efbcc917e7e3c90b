// theme.js -- light or dark: what the reader chose on this machine, else what the system prefers.
//
// `theme-first.js` applies it before the first paint, so that no page shows the wrong one for a moment.
const KEY = 'weir-theme';
const system = matchMedia('(prefers-color-scheme: dark)');

// 'light', 'dark', or 'auto'.
export function chosen() {
	try {
		return localStorage.getItem(KEY) || 'auto';
	} catch {
		return 'auto'; // storage is switched off
	}
}

export function apply() {
	const theme = chosen() === 'auto' ? (system.matches ? 'dark' : 'light') : chosen();
	const root = document.documentElement;
	if (root.dataset.theme === theme) return;
	root.dataset.theme = theme;
	dispatchEvent(new Event('weir-theme'));
}

export function choose(theme) {
	try {
		if (theme === 'auto') localStorage.removeItem(KEY);
		else localStorage.setItem(KEY, theme);
	} catch {
		document.documentElement.dataset.theme = theme; // for this page at least
	}
	apply();
}

// Follows the system, and what is chosen in another tab.
export function follow() {
	system.addEventListener('change', apply);
	addEventListener('storage', apply);
}
