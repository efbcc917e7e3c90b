// format.jsx -- numbers, sizes and times for people: in the reader's language and zone, the exact one on hover.
import { useEffect, useState } from 'preact/hooks';
import { serverNow } from './clock.js';

const whole = new Intl.NumberFormat();
const few = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 4 });
const compact = new Intl.NumberFormat(undefined, { notation: 'compact', maximumSignificantDigits: 3 });

export const count = (n) => (n == null ? '–' : whole.format(n));
export const short = (n) => (n == null ? '–' : Math.abs(n) < 10000 ? whole.format(n) : compact.format(n));
export const plural = (n, one, many = one + 's') => `${count(n)} ${n === 1 ? one : many}`;
export const percent = (part) => (part == null || !isFinite(part) ? '–' : `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`);

// A measured number: four digits that mean something.
export function figure(n, unit) {
	if (n == null || Number.isNaN(n)) return '–';
	const size = Math.abs(n);
	const text = size && (size < 1e-4 || size >= 1e9) ? n.toExponential(2) : size >= 1e6 ? compact.format(n)
		: size >= 1e4 || Number.isInteger(n) ? whole.format(Math.round(n)) : few.format(n);
	return unit ? `${text} ${unit}` : text;
}

export function bytes(n) {
	if (n == null) return '–';
	const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
	let i = 0;
	while (n >= 1024 && i < units.length - 1) {
		n /= 1024;
		i++;
	}
	return `${i && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

// Milliseconds as "850 ms", "3.2 s", "4 min 12 s", "2 h 5 min", "3 d 4 h".
export function duration(ms) {
	if (ms == null) return '–';
	if (ms < 1000) return `${Math.round(ms)} ms`;
	if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
	const s = Math.round(ms / 1000);
	const two = (big, bigName, small, smallName) => `${big} ${bigName}` + (small ? ` ${small} ${smallName}` : '');
	if (s < 60) return `${s} s`;
	if (s < 3600) return two(Math.floor(s / 60), 'min', s % 60, 's');
	if (s < 86400) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min');
	return two(Math.floor(s / 86400), 'd', Math.floor((s % 86400) / 3600), 'h');
}

/* --- times: milliseconds since the epoch, or RFC 3339 --- */

export const ms = (t) => (t == null || typeof t === 'number' ? t : Date.parse(t));

// In UTC. What came with more digits than a Date has keeps them.
export function exact(t) {
	if (typeof t === 'string' && /Z$/.test(t)) return t;
	const date = new Date(t);
	return isNaN(date) ? String(t) : date.toISOString();
}

const time = (options) => new Intl.DateTimeFormat(undefined, { hourCycle: 'h23', ...options });
const clock = { hour: '2-digit', minute: '2-digit', second: '2-digit' };
const formats = {
	today: time(clock),
	todayMs: time({ ...clock, fractionalSecondDigits: 3 }),
	year: time({ month: 'short', day: 'numeric', ...clock }),
	yearMs: time({ month: 'short', day: 'numeric', ...clock, fractionalSecondDigits: 3 }),
	ever: time({ year: 'numeric', month: 'short', day: 'numeric', ...clock }),
	everMs: time({ year: 'numeric', month: 'short', day: 'numeric', ...clock, fractionalSecondDigits: 3 }),
};

// In the reader's zone, as short as it can be without a doubt.
export function when(t, millis = false) {
	const date = new Date(t), now = new Date();
	if (t == null || isNaN(date)) return '–';
	const kind = date.toDateString() === now.toDateString() ? 'today' : date.getFullYear() === now.getFullYear() ? 'year' : 'ever';
	return formats[kind + (millis ? 'Ms' : '')].format(date);
}

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'local time';

export function Time({ t, millis, class: name }) {
	if (t == null) return <span class="muted">–</span>;
	return <time class={name} dateTime={exact(t)} title={`${exact(t)} (UTC)`}>{when(t, millis)}</time>;
}

function ago(t, now) {
	const past = now - t;
	if (past < 0) return `in ${duration(-past)}`;
	return past < 1500 ? 'now' : past < 60000 ? `${Math.round(past / 1000)} s ago` : past < 3600000
		? `${Math.floor(past / 60000)} min ago` : past < 86400000 ? `${Math.floor(past / 3600000)} h ago`
		: `${Math.floor(past / 86400000)} d ago`;
}

// A clock for what is drawn anew as time passes.
export function useNow(step = 1000) {
	const [now, tick] = useState(serverNow());
	useEffect(() => {
		const timer = setInterval(() => document.hidden || tick(serverNow()), step);
		return () => clearInterval(timer);
	}, [step]);
	return now;
}

// "3 min ago", going on by itself.
export function Ago({ t, class: name }) {
	const at = ms(t), near = at != null && Math.abs(serverNow() - at) < 120000;
	const now = useNow(near ? 1000 : 20000);
	if (at == null) return <span class="muted">–</span>;
	return <time class={name} dateTime={exact(t)} title={`${when(t)}, ${exact(t)} (UTC)`}>{ago(at, now)}</time>;
}
