// router.js -- the view and its filters are the part of the address behind '#', so that a link keeps both, and the
// server needs to know one page only: "#/sessions?product=game&state=crashed".
import { query } from './api.js';
import { store } from './store.js';

function read() {
	const [path, search] = location.hash.slice(1).split('?', 2);
	return { path: path || '/', params: Object.fromEntries(new URLSearchParams(search || '')) };
}

export const route = store(read());
let known = location.hash;

function follow() {
	if (location.hash === known) return;
	known = location.hash;
	route.set(read());
}
addEventListener('hashchange', follow);

// Who goes back finds a view where it was left: its place is noted in the history's entry. A new entry has none.
history.scrollRestoration = 'manual';
let note = 0;
addEventListener('scroll', () => {
	clearTimeout(note);
	const at = location.hash;
	note = setTimeout(() => at === location.hash && history.replaceState({ y: scrollY }, ''), 100);
}, { passive: true });

export const placeLeft = () => history.state?.y || 0;

export function href(path, params) {
	return '#' + path + query(params);
}

// replace: the address changes, the way back does not (while one types in a filter, or drags).
export function go(path, params, replace = false) {
	const to = href(path, params);
	if (to === location.hash) return;
	if (replace) history.replaceState(null, '', to);
	else location.hash = to;
	follow(); // the event comes later: a second change before it would be made to the address of before
}

// Some parameters of this view, others stay. A value of '' or null leaves one out.
export function change(params, replace = false) {
	follow();
	const { path, params: old } = route.get();
	go(path, { ...old, ...params }, replace);
}

function decode(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part; // a '%' that somebody typed
	}
}

// "/sessions/*" against a path: the parts in the place of the stars, or null.
export function match(pattern, path) {
	const wanted = pattern.split('/'), parts = path.split('/');
	if (wanted.length !== parts.length) return null;
	const found = [];
	for (let i = 0; i < parts.length; i++) {
		if (wanted[i] === '*' && parts[i]) found.push(decode(parts[i]));
		else if (wanted[i] !== parts[i]) return null;
	}
	return found;
}
