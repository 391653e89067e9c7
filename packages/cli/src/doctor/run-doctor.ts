import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { readSettings } from "../up/settings.ts";
import type { Finding } from "./finding.ts";
import { checkComfyUI, checkServer } from "./network-checks.ts";
import {
  checkBuild,
  checkDatabase,
  checkDiskSpace,
  checkHome,
  checkNode,
  checkPort,
  checkStore,
} from "./machine-checks.ts";

/** The options of `doctor`. */
export interface DoctorOptions {
  readonly home?: string;
  readonly comfyui?: string;
  readonly json?: boolean;
}

const MARKS = { ok: "ok   ", warn: "warn ", fail: "FAIL " } as const;

/** `holdfast doctor`: exits 1 when something would keep Holdfast from running here. */
export async function runDoctor(options: DoctorOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const settings = readSettings(options, context);
  const findings: Finding[] = [
    checkNode(process.versions.node),
    await checkBuild(),
    await checkHome(settings.home),
    await checkDiskSpace(settings.home),
    ...(await checkDatabase(settings)),
    await checkPort(settings),
    await checkStore(settings),
    await checkServer(settings, context.env),
    ...(await checkComfyUI(settings.comfyuiUrls)),
  ];
  for (const finding of findings) {
    if (options.json === true) {
      terminal.line(JSON.stringify(finding));
      continue;
    }
    terminal.line(`${MARKS[finding.state]}${finding.name}: ${finding.found}`);
    if (finding.fix !== undefined) terminal.line(`       fix: ${finding.fix}`);
  }
  if (findings.some((finding) => finding.state === "fail")) process.exitCode = EXIT.failed;
}
