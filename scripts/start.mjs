/**
 * `npm start`: makes the clone ready, then runs `holdfast up --demo`: one render finished in spite of an
 * injected fault, then everything stays up until Ctrl-C. `HOLDFAST_DEMO=0` leaves the demo out. What is
 * given after `npm start --` goes to `up`.
 */
import { setUp } from "./setup.mjs";

if (setUp()) {
  // In this very process: a child would get a terminal's Ctrl-C twice, from the terminal and from us.
  process.argv = [process.argv[0], "holdfast", "up", "--demo", ...process.argv.slice(2)];
  await import("../packages/cli/bin/holdfast.js");
} else {
  process.exitCode = 1;
}
