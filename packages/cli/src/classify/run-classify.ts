import { createInterface } from "node:readline";
import {
  BUILT_IN_RULES,
  classify,
  createClassifier,
  ERROR_CLASS_DESCRIPTIONS,
  LADDERS,
  limitEvidence,
  type ClassifiedError,
  type Classifier,
  type CustomVerdict,
  type FailureEvidence,
} from "@holdfast/recovery";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText } from "../terminal/text-table.ts";
import { parseEvidenceLine, toChannel } from "./evidence-line.ts";
import { readPatterns } from "./pattern-file.ts";

/** The options of `classify`. */
export interface ClassifyOptions {
  readonly json?: boolean;
  readonly channel?: string;
  readonly exceptionType?: string;
  readonly httpStatus?: string;
  /** A file of custom patterns, as `HOLDFAST_ERROR_PATTERNS` names one. */
  readonly patterns?: string;
}

/** `holdfast classify`: exits 0 also for what is `unknown`; 2 when a line or an option cannot be read. */
export async function runClassify(
  text: string,
  options: ClassifyOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const judge: Classifier =
    options.patterns === undefined
      ? classify
      : createClassifier(BUILT_IN_RULES, await readPatterns(options.patterns));
  if (text === "-" && options.json === true) return classifyLines(terminal, judge);
  const message = text === "-" ? await readAll() : text;
  if (message.trim() === "") throw new CommandFailure(EXIT.refused, "the message is empty");
  const evidence = limitEvidence({
    channel: toChannel(options.channel ?? "execution"),
    message,
    ...(options.exceptionType === undefined ? {} : { exceptionType: options.exceptionType }),
    ...(options.httpStatus === undefined ? {} : { httpStatus: readStatus(options.httpStatus) }),
  });
  const classified = judge(evidence);
  if (options.json === true) terminal.line(JSON.stringify(toResult(null, classified)));
  else explain(classified, evidence, terminal);
}

function readStatus(text: string): number {
  if (/^[1-5]\d\d$/.test(text)) return Number(text);
  throw new CommandFailure(EXIT.refused, `--http-status: expected 100 to 599, found ${text}`);
}

async function classifyLines(terminal: Terminal, judge: Classifier): Promise<void> {
  let number = 0;
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    number += 1;
    if (line.trim() === "") continue;
    const parsed = parseEvidenceLine(line);
    if (parsed.kind === "bad") {
      terminal.note(`line ${number} ${parsed.message}`);
      process.exitCode = EXIT.refused;
      continue;
    }
    const classified = judge(limitEvidence(parsed.evidence));
    terminal.line(JSON.stringify(toResult(parsed.id, classified)));
  }
}

function toResult(id: unknown, classified: ClassifiedError): Record<string, unknown> {
  return {
    id,
    class: classified.class,
    subclass: classified.subclass,
    confidence: classified.confidence,
    strategy: classified.strategy,
    ...(classified.custom === undefined ? {} : { error_type: classified.custom.errorType }),
  };
}

async function readAll(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

function explain(classified: ClassifiedError, evidence: FailureEvidence, terminal: Terminal): void {
  const { title, meaning } = ERROR_CLASS_DESCRIPTIONS[classified.class];
  const { kind, rule, matched } = classified.decidedBy;
  const subclass = classified.subclass === null ? "" : ` / ${classified.subclass}`;
  terminal.line(`class       ${classified.class}${subclass}`);
  terminal.line(`meaning     ${title}. ${meaning}`);
  terminal.line(`confidence  ${Math.round(classified.confidence * 100)} %`);
  const saw = matched === undefined ? "" : `, saw ${JSON.stringify(plainText(matched))}`;
  terminal.line(`evidence    ${kind} ${rule} (channel ${evidence.channel})${saw}`);
  terminal.line(`strategy    ${classified.strategy}`);
  if (classified.custom !== undefined) explainCustom(classified.custom, terminal);
  const ladder = LADDERS[classified.class];
  if (ladder.length === 0) {
    terminal.line("ladder      nothing to do");
    return;
  }
  terminal.line("ladder");
  ladder.forEach((rung, i) => {
    const loss = rung.loss === "none" ? "" : `  [changes ${rung.loss}]`;
    terminal.line(`  ${i + 1}. ${rung.name}: ${rung.does}${loss}`);
  });
}

function explainCustom(custom: CustomVerdict, terminal: Terminal): void {
  const retries = custom.maxRetries === null ? "" : `, ${custom.maxRetries} retries at most`;
  terminal.line(`pattern     ${custom.pattern}, error type ${custom.errorType}${retries}`);
  for (const [name, adjustment] of Object.entries(custom.adjustments)) {
    const { operation, ...values } = adjustment;
    const words = Object.entries(values).map(([key, value]) => `${key} ${String(value)}`);
    terminal.line(`adjusts     ${plainText(`${name}: ${operation}, ${words.join(", ")}`)}`);
  }
}
