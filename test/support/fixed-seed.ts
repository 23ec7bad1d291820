// Loaded before the tests of `npm test` and `npm run check`: properties without a seed of their own look at the same cases every time. A file that is run by itself
// looks at others.
import fc from "fast-check";

fc.configureGlobal({ seed: 1 });
