// units.mjs -- what needs no browser: numbers, times, addresses. Run by meson (src/web), with node's own test runner.
//
// The shared modules are bundled first, as they are written with JSX. By hand: LC_ALL=C.UTF-8 node web/test/units.mjs
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const SKIPPED = 77; // as meson has it: built without pages
const esbuild = await import('esbuild').catch(() => process.exit(SKIPPED));

process.env.TZ = 'Europe/Berlin';
globalThis.location = { hash: '', href: 'http://hub/' };
globalThis.addEventListener = () => {};
globalThis.history = {};

const folder = mkdtempSync(join(tmpdir(), 'weir-units-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
await esbuild.build({
	absWorkingDir: join(dirname(fileURLToPath(import.meta.url)), '..'),
	stdin: {
		contents: `export * from './shared/format.jsx'; export * from './shared/router.js'; export * from './shared/clock.js';
			export { query } from './shared/api.js'; export { changes } from './dashboard/diff.js';`,
		resolveDir: join(dirname(fileURLToPath(import.meta.url)), '..'),
	},
	bundle: true, format: 'esm', jsx: 'automatic', jsxImportSource: 'preact', outfile: join(folder, 'shared.mjs'),
});
const shared = await import(pathToFileURL(join(folder, 'shared.mjs')));

function rows(name, table) {
	test(name, () => {
		for (const [got, want] of table) assert.equal(got, want);
	});
}

const { bytes, duration, exact, figure, percent, plural, short } = shared;

rows('sizes are in the unit that keeps them short', [
	[bytes(0), '0 B'], [bytes(1023), '1023 B'], [bytes(1024), '1.0 KiB'], [bytes(1536), '1.5 KiB'], [bytes(150 * 1024), '150 KiB'],
	[bytes(5 * 2 ** 30), '5.0 GiB'], [bytes(null), '–'],
]);
rows('durations have two units at most', [
	[duration(0), '0 ms'], [duration(999), '999 ms'], [duration(1000), '1.0 s'], [duration(9949), '9.9 s'], [duration(9950), '10 s'],
	[duration(59499), '59 s'], [duration(59500), '1 min'], [duration(252000), '4 min 12 s'], [duration(3600000), '1 h'],
	[duration(7500000), '2 h 5 min'], [duration(86400000 * 3 + 3600000 * 4), '3 d 4 h'], [duration(null), '–'],
]);
rows('figures keep the digits that mean something', [
	[figure(0), '0'], [figure(60), '60'], [figure(59.98126), '59.98'], [figure(0.0001234), '0.0001234'], [figure(0.00001234), '1.23e-5'],
	[figure(16.66, 'ms'), '16.66 ms'], [figure(-2.5), '-2.5'], [figure(5e12), '5.00e+12'], [figure(null), '–'], [figure(NaN), '–'],
]);
rows('shares and counts', [
	[percent(0.5), '50 %'], [percent(0.091), '9.1 %'], [percent(NaN), '–'], [plural(1, 'session'), '1 session'],
	[plural(2, 'entry', 'entries'), '2 entries'], [short(null), '–'],
]);
rows('the exact time is in UTC, with all digits that came', [
	[exact('2026-01-02T03:04:05.123456789Z'), '2026-01-02T03:04:05.123456789Z'], [exact(0), '1970-01-01T00:00:00.000Z'],
	[exact('2026-01-02T03:04:05+02:00'), '2026-01-02T01:04:05.000Z'], [exact('nonsense'), 'nonsense'],
]);

test('a time says its day when that is not today', () => {
	const today = new Date();
	assert.match(shared.when(today.getTime()), /^\d\d:\d\d:\d\d$/);
	assert.match(shared.when(today.getTime(), true), /^\d\d:\d\d:\d\d[.,]\d{3}$/);
	assert.match(shared.when('2001-02-03T04:05:06Z'), /2001.*05:05:06|05:05:06.*2001/); // Berlin
	assert.equal(shared.when('nonsense'), '–');
	assert.equal(shared.when(null), '–');
});

test('paths are matched part by part', () => {
	const { match } = shared;
	assert.deepEqual(match('/', '/'), []);
	assert.deepEqual(match('/sessions/*', '/sessions/a%2Fb'), ['a/b']);
	assert.deepEqual(match('/sessions/*', '/sessions/100%'), ['100%']);
	assert.equal(match('/sessions/*', '/sessions/'), null);
	assert.equal(match('/sessions/*', '/sessions/a/b'), null);
	assert.equal(match('/sessions', '/session'), null);
});

rows('an address leaves out what is not given', [
	[shared.query({ a: '', b: null, c: undefined }), ''], [shared.query({ a: 0, b: 'x y&z' }), '?a=0&b=x%20y%26z'], [shared.query({ a: ['x', 'y,z'], b: [] }), '?a=x&a=y%2Cz'],
	[shared.href('/sessions', { state: '' }), '#/sessions'],
]);

test('a wrong clock of the reader is noticed, a slow answer is not one', () => {
	const say = (off) => shared.heard(new Date(Date.now() + off).toUTCString());
	const off = () => shared.serverNow() - Date.now();
	say(0);
	assert.equal(off(), 0);
	say(2 * 3600000);
	assert.ok(Math.abs(off() - 2 * 3600000) < 2000);
	shared.heard(null);
	assert.ok(off() > 3600000); // no news
	say(-1000);
	assert.equal(off(), 0);
});

/* --- the lines that differ --- */

const { changes } = shared;
const drawn = (theirs, ours) => changes(theirs, ours)?.map(([sign, line]) => sign + line);
const many = (n, word) => Array.from({ length: n }, (_, i) => `${word} ${i}\n`).join('');

test('lines that differ are marked, with what stands around them', () => {
	assert.deepEqual(drawn('a\nb\nc\n', 'a\nB\nc\n'), [' a', '-b', '+B', ' c']);
	assert.deepEqual(drawn('', 'new\n'), ['+new']);
	assert.deepEqual(drawn('old\n', ''), ['-old']);
	assert.deepEqual(drawn(many(9, 'l'), many(9, 'l') + 'end\n'), ['…6 lines are the same', ' l 6', ' l 7', ' l 8', '+end']);
	assert.deepEqual(drawn('a', 'a\n'), ['…They differ in the end of the last line alone']);
});

test('the lines lead from theirs to ours, in as few steps as there can be', () => {
	let state = 7; // a small generator of our own, so that a failure comes again
	const random = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
	const text = () => Array.from({ length: 1 + random(5) }, () => 'abc'[random(3)]);
	// How many lines differ, by the table that everybody knows.
	const distance = (a, b) => {
		const d = Array.from({ length: a.length + 1 }, (_, i) => [i]);
		for (let j = 0; j <= b.length; j++) d[0][j] = j;
		for (let i = 1; i <= a.length; i++)
			for (let j = 1; j <= b.length; j++)
				d[i][j] = a[i - 1] === b[j - 1] ? d[i - 1][j - 1] : 1 + Math.min(d[i - 1][j], d[i][j - 1]);
		return d[a.length][b.length];
	};
	for (let i = 0; i < 5000; i++) {
		const a = text(), b = text(), found = changes(a.join('\n'), b.join('\n'));
		if (a.join() === b.join() || found.some(([sign]) => sign === '…')) continue;
		const side = (not) => found.filter(([sign]) => sign !== not).map(([, line]) => line);
		assert.deepEqual(side('+'), a);
		assert.deepEqual(side('-'), b);
		assert.equal(found.filter(([sign]) => sign !== ' ').length, distance(a, b));
	}
});

test('large texts are compared within limits, or not at all', () => {
	assert.equal(changes(many(2000, 'a'), many(2000, 'b')).length, 4000); // all of one, then all of the other
	assert.equal(changes(many(4000, 'a'), many(4000, 'b')), null);
	assert.equal(changes(many(100000, 'a'), many(100000, 'a') + 'b').length, 5); // what is equal costs nothing
});
