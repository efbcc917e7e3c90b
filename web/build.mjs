// build.mjs FOLDER -- bundles the pages into FOLDER: APP.html, assets/NAME-HASH.EXT, and inputs.json (the files read).
// src/web/embed calls it and puts what comes out into the program.
import * as esbuild from 'esbuild';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const web = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2]);
const titles = { hub: 'weir hub', dashboard: 'weir' };

const result = await esbuild.build({
	absWorkingDir: web,
	entryPoints: {
		theme: 'shared/theme-first.js',
		icon: 'shared/icon.svg',
		...Object.fromEntries(Object.keys(titles).map((app) => [app, `${app}/index.jsx`])),
	},
	bundle: true,
	minify: true,
	format: 'iife',
	target: ['chrome109', 'firefox115', 'safari16.4'],
	jsx: 'automatic',
	jsxImportSource: 'preact',
	loader: { '.svg': 'copy' },
	legalComments: 'none',
	entryNames: '[name]-[hash]',
	outdir: join(out, 'assets'),
	metafile: true,
	logLevel: 'warning',
});

// { hub: { js: 'hub-HASH.js', css: 'hub-HASH.css' }, theme: {...}, icon: {...} }
const made = {};
for (const path of Object.keys(result.metafile.outputs)) {
	const [, name, kind] = basename(path).match(/^(\w+)-\w+\.(\w+)$/);
	made[name] = { ...made[name], [kind]: basename(path) };
}

// What is passed on with the program comes with its licence.
const texts = Object.keys(JSON.parse(readFileSync(join(web, 'package.json'))).dependencies)
	.map((name) => `${name}\n\n${readFileSync(join(web, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`).join('\n\n');
const licences = join(out, 'assets', `licences-${createHash('sha256').update(texts).digest('hex').slice(0, 8)}.txt`);
writeFileSync(licences, texts);

const page = readFileSync(join(web, 'shared/page.html'), 'utf8');
for (const [app, title] of Object.entries(titles)) {
	const values = { title, licences: basename(licences), icon: made.icon.svg, theme: made.theme.js, style: made[app].css, script: made[app].js };
	writeFileSync(join(out, `${app}.html`), page.replace(/\{(\w+)\}/g, (_, name) => values[name]));
}

const read = [...Object.keys(result.metafile.inputs), 'build.mjs', 'shared/page.html'].sort();
writeFileSync(join(out, 'inputs.json'), JSON.stringify(read.map((path) => join(web, path))));
