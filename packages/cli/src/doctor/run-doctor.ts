import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { readSettings } from "../up/settings.ts";
import { gatherContainer } from "./container/gather-container.ts";
import { judgeContainer } from "./container/judge-container.ts";
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
  /** Whether this host can run the containers, instead of Holdfast itself. */
  readonly container?: boolean;
  /** With `container`: where the host's models are. */
  readonly models?: string;
}

/** Where models are on the host of a container, unless told otherwise. */
const MODELS_PATH = "/data/comfyui/models";

const MARKS = { ok: "ok   ", warn: "warn ", fail: "FAIL " } as const;

/** `holdfast doctor`: exits 1 when something would keep Holdfast, or its containers, from running here. */
export async function runDoctor(options: DoctorOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  if (options.models !== undefined && options.container !== true) {
    throw new CommandFailure(EXIT.refused, "--models: it goes with --container");
  }
  const findings = await examine(options, context);
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

async function examine(
  options: DoctorOptions,
  context: CommandContext,
): Promise<readonly Finding[]> {
  const settings = readSettings(options, context);
  if (options.container === true) {
    const facts = await gatherContainer({
      modelsPath: options.models ?? MODELS_PATH,
      nvidiaSmi: settings.nvidiaSmiProgram ?? "nvidia-smi",
    });
    return judgeContainer(facts);
  }
  return [
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
}
