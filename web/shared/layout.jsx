// layout.jsx -- what stands around every view: name, ways, theme, whether the server answers, the question for the key.
import { Component } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { keyAsked, link } from './api.js';
import { Time, useNow } from './format.jsx';
import { tryNow } from './load.js';
import { placeLeft, route } from './router.js';
import { choose, chosen } from './theme.js';
import { Button, Dialog, Empty, Icon, Overlays } from './ui.jsx';
import './style.css';

const themes = ['auto', 'light', 'dark'];
const pictures = { auto: 'auto', light: 'sun', dark: 'moon' };

function Theme() {
	const [theme, set] = useState(chosen());
	const next = themes[(themes.indexOf(theme) + 1) % themes.length];
	return (
		<Button kind="quiet" icon={pictures[theme]} label={`Theme: ${theme}. Change to ${next}`}
			onClick={() => {
				choose(next);
				set(next);
			}} />
	);
}

function Away({ server }) {
	const { away, since, retryAt } = link.use();
	const now = useNow(1000);
	return (
		<div role="status" class={away ? 'away' : undefined}>
			{away && (
				<>
					<Icon name="away" />
					<span>
						{server} does not answer. What you see is as of <Time t={since} />.
						{/* Not for the ear: it changes every second. */}
						<span aria-hidden="true">{retryAt - now > 1500 ? ` Trying again in ${Math.ceil((retryAt - now) / 1000)} s.` : ' Trying again …'}</span>
					</span>
					<Button kind="small" onClick={tryNow}>Try now</Button>
				</>
			)}
		</div>
	);
}

// help: where the reader finds the key.
function KeyPrompt({ server, help }) {
	const asked = keyAsked.use();
	const input = useRef(null);
	if (!asked) return null;
	return (
		<Dialog title={`${server} asks for a key`} firm>
			<form onSubmit={(e) => {
				e.preventDefault();
				const key = input.current.value.trim();
				if (key) asked.answer(key);
				else input.current.focus();
			}}>
				<div class="body">
					{asked.wrong && <p class="problem" role="alert">That key was not accepted.</p>}
					<label class="field">
						<span>Key</span>
						<input ref={input} type="password" autocomplete="off" required autofocus spellcheck={false} />
					</label>
					<p class="muted">{help} It is kept for this tab only, until you close it.</p>
				</div>
				<footer><Button type="submit" kind="main">Continue</Button></footer>
			</form>
		</Dialog>
	);
}

// ways: [{ href, name, here }]. title: of the view, for the tab and the screen reader. server: "The hub".
export function Layout({ name, ways, title, server, keyHelp, children }) {
	const main = useRef(null), first = useRef(true), { path } = route.use();
	useEffect(() => {
		document.title = title ? `${title} – ${name}` : name;
		// A new view begins at its top, one that is come back to where it was left; and a screen reader hears of it; at the first one the browser does that.
		if (!first.current) {
			main.current.focus({ preventScroll: true });
			scrollTo(0, placeLeft());
		}
		first.current = false;
	}, [title]);
	return (
		<>
			<a class="skip" href="#main" onClick={(e) => {
				e.preventDefault();
				main.current.focus();
			}}>Skip to content</a>
			<header class="top">
				<a class="brand" href="#/" aria-label={`${name}, start`}><Brand />{name}</a>
				<nav aria-label="Views">
					{ways.map((w) => <a key={w.href} href={w.href} aria-current={w.here ? 'page' : undefined}>{w.name}</a>)}
				</nav>
				<Theme />
			</header>
			<Away server={server} />
			<main ref={main} id="main" tabIndex={-1}><Guard key={path}>{children}</Guard></main>
			<KeyPrompt server={server} help={keyHelp} />
			<Overlays />
		</>
	);
}

// A fault of ours in one view leaves the others usable.
class Guard extends Component {
	static getDerivedStateFromError(error) {
		return { error };
	}

	componentDidCatch(error) {
		console.error(error);
	}

	render({ children }, { error }) {
		if (!error) return children;
		return (
			<Empty title="This view has failed">
				<p>That is a fault of the page, not of your data: {String(error.message || error)}</p>
			</Empty>
		);
	}
}

function Brand() {
	return (
		<svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" focusable="false">
			<rect class="plate" width="32" height="32" rx="7" />
			<path class="lines" d="M5 11c2.2 0 2.2-2 4.4-2s2.2 2 4.4 2 2.2-2 4.4-2 2.2 2 4.4 2 2.2-2 4.4-2M6 15.5h20" />
			<path class="lines faint" d="M10 20v4M16 20v6M22 20v4" />
		</svg>
	);
}
