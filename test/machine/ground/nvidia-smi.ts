/** A program named `nvidia-smi`, to be put first on PATH: honest for parsing, not for how a driver behaves. */
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

/** What it prints for some arguments. */
export interface SmiAnswer {
  /** In the arguments, joined by spaces; without it, for any. */
  readonly when?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly exitCode?: number;
  /** It takes so long, as one does whose driver hangs. */
  readonly delayMs?: number;
}

/** A card by its fields, in nvidia-smi's names and with its units: `{ "memory.total": "24564 MiB" }`. */
export type SmiCard = Readonly<Record<string, string>>;

/** What the program is to say: the first answer that fits, else what it makes of the cards. */
export interface SmiScript {
  readonly answers?: readonly SmiAnswer[];
  /**
   * Asked by `--query-gpu`, it prints their fields, and refuses one that they have not; `-L` lists them.
   * Without cards and answers there is no driver.
   */
  readonly cards?: readonly SmiCard[];
  /** Printed before what it makes of the cards, as of one that it gets no handle for. */
  readonly complaint?: string;
}

/** The fake. */
export interface FakeNvidiaSmi {
  /** To be put first on PATH. */
  readonly folder: string;
  /** `PATH` with it in front. */
  readonly path: string;
  /** What it says from the next call on. */
  say(script: SmiScript): void;
  /** Arguments of every call, joined by spaces. */
  calls(): readonly string[];
}

/** A whole card of ordinary make. */
export function smiCard(index: number, more: SmiCard = {}): SmiCard {
  const hex = index.toString(16).padStart(12, "0");
  return {
    index: String(index),
    uuid: `GPU-00000000-0000-4000-8000-${hex}`,
    name: "NVIDIA GeForce RTX 4090",
    "pci.bus_id": `00000000:0${index + 1}:00.0`,
    driver_version: "570.133.07",
    count: "1",
    "memory.total": "24564 MiB",
    "memory.used": "1 MiB",
    "memory.free": "24079 MiB",
    "memory.reserved": "484 MiB",
    "utilization.gpu": "0 %",
    "utilization.memory": "0 %",
    "temperature.gpu": "31",
    "power.draw": "14.20 W",
    "power.limit": "450.00 W",
    "fan.speed": "0 %",
    pstate: "P8",
    compute_mode: "Default",
    compute_cap: "8.9",
    persistence_mode: "Enabled",
    "mig.mode.current": "[N/A]",
    "ecc.mode.current": "[N/A]",
    ...more,
  };
}

/** Cards of a recorded `--query-gpu … --format=csv` with its header line. */
export function smiCardsOf(csv: string): readonly SmiCard[] {
  const [head = "", ...rows] = csv.split("\n").filter((line) => line.trim() !== "");
  const names = head.split(",").map((name) => name.trim().replace(/ \[.*\]$/, ""));
  return rows.map((row) => {
    const values = row.split(",").map((value) => value.trim());
    return Object.fromEntries(names.map((name, at) => [name, values[at] ?? ""]));
  });
}

/** Makes one in `folder`, which is made. */
export function makeNvidiaSmi(folder: string, script: SmiScript): FakeNvidiaSmi {
  mkdirSync(folder, { recursive: true });
  const answersFile = join(folder, "answers.json");
  const callsFile = join(folder, "calls.log");
  const say = (next: SmiScript): void => {
    writeFileSync(`${answersFile}.new`, JSON.stringify(next));
    renameSync(`${answersFile}.new`, answersFile);
  };
  say(script);
  writeFileSync(callsFile, "");
  const program = join(folder, "nvidia-smi");
  // By its whole path: PATH of a service may hold no Node.
  writeFileSync(program, `#!${process.execPath}\n${PROGRAM}`);
  chmodSync(program, 0o755);
  return {
    folder,
    path: `${folder}${delimiter}${process.env["PATH"] ?? ""}`,
    say,
    calls: () => readFileSync(callsFile, "utf8").split("\n").slice(0, -1),
  };
}

const PROGRAM = `"use strict";
const { appendFileSync, readFileSync } = require("node:fs");
const asked = process.argv.slice(2).join(" ");
appendFileSync(__dirname + "/calls.log", asked + "\\n");
const { answers = [], cards = [], complaint = "" } = JSON.parse(readFileSync(__dirname + "/answers.json", "utf8"));
const answer = answers.find(({ when }) => when === undefined || asked.includes(when)) ?? complaining(byCards());
setTimeout(() => {
  process.stdout.write(answer.stdout ?? "");
  process.stderr.write(answer.stderr ?? "");
  process.exitCode = answer.exitCode ?? 0;
}, answer.delayMs ?? 0);

function complaining(answer) {
  return complaint === "" ? answer : { ...answer, stdout: complaint + answer.stdout };
}

function byCards() {
  if (cards.length === 0) {
    const stdout = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. " +
      "Make sure that the latest NVIDIA driver is installed and running.\\n\\n";
    return { stdout, exitCode: 9 };
  }
  if (/(^| )(-L|--list-gpus)( |$)/.test(asked)) {
    const line = (card) => "GPU " + card.index + ": " + card.name + " (UUID: " + card.uuid + ")\\n";
    return { stdout: cards.map(line).join("") };
  }
  const query = /--query-gpu[= ](\\S+)/.exec(asked);
  if (asked.includes("--help-query-gpu")) {
    return { stdout: Object.keys(cards[0]).map((name) => '"' + name + '"\\n\\n').join("") };
  }
  if (query === null) return { stdout: "NVIDIA-SMI " + (cards[0].driver_version ?? "") + "\\n" };
  const names = query[1].split(",");
  const unknown = names.find((name) => !(name in cards[0]));
  if (unknown !== undefined) {
    return { stdout: 'Field "' + unknown + '" is not a valid field to query.\\n\\n', exitCode: 2 };
  }
  const only = /(?:-i|--id)[= ](\\S+)/.exec(asked)?.[1].split(",");
  const wanted = cards.filter((card) => only === undefined || only.includes(card.index) || only.includes(card.uuid));
  if (wanted.length === 0) return { stdout: "No devices were found\\n", exitCode: 6 };
  const bare = (value) => asked.includes("nounits") ? value.replace(/^(-?[\\d.]+) (MiB|%|W|MHz|ms|us)$/, "$1") : value;
  const unit = (name) => /^memory\\./.test(name) ? " [MiB]" : /^(utilization\\.|fan\\.)/.test(name) ? " [%]" : /^power\\.(draw|limit)/.test(name) ? " [W]" : "";
  const head = asked.includes("noheader") ? [] : [names.map((name) => name + unit(name)).join(", ")];
  const rows = wanted.map((card) => names.map((name) => bare(card[name])).join(", "));
  return { stdout: [...head, ...rows].join("\\n") + "\\n" };
}
`;
