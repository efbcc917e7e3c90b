// theme-first.js -- a script of its own in the head, which the browser runs before it draws anything.
import { apply, follow } from './theme.js';

apply();
follow();
