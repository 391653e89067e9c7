import { createInterface } from "node:readline";
import {
  classify,
  ERROR_CLASS_DESCRIPTIONS,
  LADDERS,
  limitEvidence,
  type ClassifiedError,
  type FailureEvidence,
} from "@holdfast/recovery";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText } from "../terminal/text-table.ts";
import { parseEvidenceLine, toChannel } from "./evidence-line.ts";

/** The options of `classify`. */
export interface ClassifyOptions {
  readonly json?: boolean;
  readonly channel?: string;
  readonly exceptionType?: string;
  readonly httpStatus?: string;
}

/** `holdfast classify`: exits 0 also for what is `unknown`; 2 when a line cannot be read. */
export async function runClassify(
  text: string,
  options: ClassifyOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  if (text === "-" && options.json === true) return classifyLines(terminal);
  const message = text === "-" ? await readAll() : text;
  if (message.trim() === "") throw new CommandFailure(EXIT.refused, "the message is empty");
  const evidence = limitEvidence({
    channel: toChannel(options.channel ?? "execution"),
    message,
    ...(options.exceptionType === undefined ? {} : { exceptionType: options.exceptionType }),
    ...(options.httpStatus === undefined ? {} : { httpStatus: Number(options.httpStatus) }),
  });
  const classified = classify(evidence);
  if (options.json === true) terminal.line(JSON.stringify(toResult(null, classified)));
  else explain(classified, evidence, terminal);
}

async function classifyLines(terminal: Terminal): Promise<void> {
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
    const classified = classify(limitEvidence(parsed.evidence));
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
