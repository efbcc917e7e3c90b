// driver.mjs -- Chromium, driven line by line: requests as JSON on standard input, answers on standard output.
//
//   {id, do: 'open', options}             a page in a context of its own (Playwright's options): its name
//   {id, do: 'call', page, on, name, args} page.on[0](...).on[1](...)...name(...args): what it returns, when that is JSON
//   {id, do: 'faults', page}              what the page complained about: console errors, exceptions, the policy's refusals
//   {id, do: 'requests', page}           how many requests it has made
//   {id, do: 'axe', page}                 serious and critical faults that axe-core finds
//   {id, do: 'close', page}
//
// {"$re": "...", "$flags": "i"} stands for a regular expression. tests/lib/lab/browser.py speaks it.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const root = process.getuid?.() === 0;
const browser = await chromium.launch({
	executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
	args: [...(root ? ['--no-sandbox'] : []), '--disable-gpu', '--force-color-profile=srgb', '--font-render-hinting=none'],
});
const pages = new Map();
let opened = 0;

function revive(value) {
	if (Array.isArray(value)) return value.map(revive);
	if (value === null || typeof value !== 'object') return value;
	if ('$re' in value) return new RegExp(value.$re, value.$flags);
	return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, revive(v)]));
}

async function open({ options = {} }) {
	const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'Europe/Berlin', reducedMotion: 'reduce', ...options });
	const page = await context.newPage();
	const faults = [], made = { requests: 0 };
	page.setDefaultTimeout(30000);
	page.on('console', (m) => m.type() === 'error' && faults.push(`console: ${m.text()} ${m.location().url}`));
	page.on('request', () => made.requests++);
	page.on('pageerror', (e) => faults.push(`exception: ${e.stack || e}`));
	await page.addInitScript(() => {
		document.addEventListener('securitypolicyviolation', (e) => {
			console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`);
		});
	});
	const name = `p${++opened}`;
	pages.set(name, { context, page, faults, made });
	return name;
}

async function call({ page, on = [], name, args = [] }) {
	let it = pages.get(page).page;
	for (const [step, ...rest] of on) it = step in it && typeof it[step] !== 'function' ? it[step] : it[step](...revive(rest));
	const result = await it[name](...revive(args));
	if (name === 'screenshot') return null;
	return result !== null && typeof result === 'object' && typeof result.status === 'function' ? result.status() : result ?? null;
}

async function look({ page }) {
	const it = pages.get(page).page;
	await it.evaluate(axe);
	const { violations } = await it.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
	return violations.filter((v) => ['serious', 'critical'].includes(v.impact)).map((v) => ({
		id: v.id, impact: v.impact, help: v.help,
		nodes: v.nodes.slice(0, 5).map((n) => `${n.html.slice(0, 200)}: ${(n.any[0] || n.all[0] || n.none[0])?.message}`),
	}));
}

async function close({ page }) {
	const it = pages.get(page);
	pages.delete(page);
	await it?.context.close();
	return null;
}

const verbs = { open, call, axe: look, close, faults: async ({ page }) => pages.get(page).faults,
	requests: async ({ page }) => pages.get(page).made.requests };

for await (const line of createInterface({ input: process.stdin })) {
	const request = JSON.parse(line);
	let answer;
	try {
		answer = { id: request.id, result: await verbs[request.do](request) };
	} catch (e) {
		answer = { id: request.id, error: String(e.message || e) };
	}
	process.stdout.write(JSON.stringify(answer) + '\n');
}
await browser.close();
