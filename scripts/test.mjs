// `npm test` on a bare machine: sets up what is missing, then runs everything that needs no GPU.
// Prints `N passed, N failed, N skipped` as its last line and exits with 1 when anything failed.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { setUp } from "./setup.mjs";

const root = new URL("..", import.meta.url).pathname;
/** How much of a failure's message is repeated at the end, characters. */
const MESSAGE_LENGTH = 1500;
/** In this order: what fails fast comes first. */
const STEPS = [
  { name: "typecheck", npm: ["run", "typecheck"] },
  { name: "lint", npm: ["run", "lint", "--", "--quiet"] },
  { name: "format", npm: ["run", "format:check"] },
  { name: "tidy", npm: ["run", "tidy"] },
  { name: "generated files", npm: ["run", "generate:check"] },
];
const PROJECTS = ["unit", "db", "conformance", "simulation", "e2e", "machine", "page", "chaos"];

const only = process.argv.slice(2);
setUp({ build: true });

let passed = 0;
let failed = 0;
let skipped = 0;
/** What failed: a step's name, or a test's with what it said. Repeated at the end, where a long log is cut last. */
const failures = [];

for (const step of STEPS) {
  if (only.length > 0 && !only.includes(step.name)) continue;
  console.log(`\n== ${step.name}`);
  const { status } = spawnSync("npm", ["--silent", ...step.npm], {
    cwd: root,
    stdio: "inherit",
    shell: process.platform === "win32",
  });
  if (status === 0) passed += 1;
  else {
    failed += 1;
    failures.push(step.name);
  }
}

const out = mkdtempSync(join(tmpdir(), "holdfast-test-"));
for (const project of PROJECTS) {
  if (only.length > 0 && !only.includes(project)) continue;
  console.log(`\n== ${project}`);
  const file = join(out, `${project}.json`);
  const run = spawnSync(
    process.execPath,
    [
      join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      "--project",
      project,
      "--passWithNoTests",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${file}`,
    ],
    { cwd: root, stdio: "inherit" },
  );
  const counts = readCounts(file);
  passed += counts.passed;
  failed += counts.failed;
  skipped += counts.skipped;
  for (const failure of counts.failures) failures.push(`${project}: ${failure}`);
  if (run.status !== 0 && counts.failures.length === 0) failures.push(project);
  // A run that failed without a failed test (a hook, an unhandled rejection) is a failure too.
  if (run.status !== 0 && counts.failed === 0) failed += 1;
}
rmSync(out, { recursive: true, force: true });

for (const failure of failures) console.log(`\nfailed: ${failure}`);
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exit(failed === 0 ? 0 : 1);

function readCounts(file) {
  try {
    const report = JSON.parse(readFileSync(file, "utf8"));
    return {
      passed: report.numPassedTests,
      failed: report.numFailedTests,
      skipped: report.numPendingTests + report.numTodoTests,
      failures: report.testResults.flatMap(failuresOf),
    };
  } catch {
    return { passed: 0, failed: 0, skipped: 0, failures: [] };
  }
}

/** A test file's failures: its failed tests, or its own message where it could not run at all. */
function failuresOf(file) {
  const tests = file.assertionResults.filter((test) => test.status === "failed");
  const path = relative(root, file.name);
  if (tests.length === 0 && file.status === "failed") return [describe(path, [file.message])];
  return tests.map((test) => describe(`${path} > ${test.fullName}`, test.failureMessages));
}

function describe(name, messages) {
  return `${name}\n${messages.join("\n").slice(0, MESSAGE_LENGTH)}`;
}
