// api.js -- asking the server: JSON, the key, and whether the server is there.
//
// Three ends: data; Refused (the server said no, in a sentence); Away (no answer, or a 502, 503 or 504: try again).
// A 401 asks the reader for the key, once for all requests that wait, and goes on.
import { heard } from './clock.js';
import { store } from './store.js';

export class Refused extends Error {
	constructor(status, sentence) {
		super(sentence);
		this.status = status;
	}
}
export class Away extends Error {}

const PATIENCE_MS = 15000;
const KEY = 'weir-key'; // of this tab, until it is closed

// Whether the server answers: { away, since, retryAt }, times in ms. Set by load.js.
export const link = store({ away: false, since: 0, retryAt: 0 });
// null, or { wrong, answer(key) } while the reader is asked for the key.
export const keyAsked = store(null);

function key() {
	try {
		return key.kept ?? sessionStorage.getItem(KEY);
	} catch {
		return null; // storage is switched off: the key is kept until the page is loaded again
	}
}

function keep(value) {
	key.kept = value;
	try {
		sessionStorage.setItem(KEY, value);
	} catch {
		// see key()
	}
}

// A key may have letters beyond ASCII: it is sent as the bytes of its file.
const octets = (text) => String.fromCharCode(...new TextEncoder().encode(text));

let asking = null;

function askForKey(wrong) {
	asking ||= new Promise((resolve) => {
		keyAsked.set({
			wrong,
			answer(value) {
				keep(value);
				asking = null;
				keyAsked.set(null);
				resolve();
			},
		});
	});
	return asking;
}

export function query(params) {
	const given = Object.entries(params || {}).flatMap(([k, v]) => (Array.isArray(v) ? v.map((one) => [k, one]) : [[k, v]]))
		.filter(([, v]) => v != null && v !== '' && String(v) !== '');
	// A space as %20: '+' is a space in forms alone, and these are addresses.
	return given.length ? '?' + new URLSearchParams(given).toString().replaceAll('+', '%20') : '';
}

async function sentence(response) {
	const text = await response.text().catch(() => '');
	if ((response.headers.get('content-type') || '').includes('json')) {
		try {
			const problem = JSON.parse(text);
			return problem.detail || problem.title || text;
		} catch {
			// then as it stands
		}
	}
	return text.trim().slice(0, 500) || `The server answered ${response.status}`;
}

// Beside the page, wherever a proxy has put it.
const address = (path) => new URL('.' + path, location.href).href;

// { data, response }. options: params, body (sent as JSON; FormData and the like are not used here), signal,
// as ('json', 'text' or 'blob').
export async function ask(method, path, { params, body, signal, as = 'json' } = {}) {
	for (;;) {
		const used = key();
		const headers = { Accept: '*/*' };
		if (used) headers.Authorization = `Bearer ${octets(used)}`;
		if (body !== undefined) headers['Content-Type'] = 'application/json';
		let response;
		// A look that is not even begun to be answered: the server hangs. A change may take as long as it takes.
		const patience = new AbortController(), give = () => patience.abort();
		const timer = method === 'GET' ? setTimeout(give, PATIENCE_MS) : 0;
		signal?.addEventListener('abort', give, { once: true });
		try {
			response = await fetch(address(path) + query(params), {
				method, signal: patience.signal, headers, body: body === undefined ? undefined : JSON.stringify(body),
				cache: 'no-store', credentials: 'omit', redirect: 'error',
			});
			clearTimeout(timer);
			heard(response.headers.get('date'));
			if (response.status === 401) {
				if (key() === used) await askForKey(used != null);
				continue;
			}
			if ([502, 503, 504].includes(response.status)) throw new Away(await sentence(response));
			if (!response.ok) throw new Refused(response.status, await sentence(response));
			return { data: await response[as](), response };
		} catch (e) {
			if (e instanceof Refused || e instanceof Away || signal?.aborted) throw e;
			throw new Away(response ? 'The answer was cut off' : 'No answer');
		} finally {
			clearTimeout(timer);
			signal?.removeEventListener('abort', give);
		}
	}
}

export async function get(path, params, signal) {
	return (await ask('GET', path, { params, signal })).data;
}

// A page of a list whose next page is told by Link: { items, next: cursor or null }.
export async function getPage(path, params, signal) {
	const { data, response } = await ask('GET', path, { params, signal });
	const next = /<([^>]*)>\s*;\s*rel="?next"?/.exec(response.headers.get('link') || '');
	return { items: data, next: next && new URL(next[1], location.href).searchParams.get('after') };
}

export async function post(path, body, params) {
	return (await ask('POST', path, { body, params })).data;
}
