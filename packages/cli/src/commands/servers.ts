import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { collect, factor, portNumber, wholeNumber } from "./option-values.ts";
import type {
  AgentCommandOptions,
  SettingOptions,
  SimulatorCommandOptions,
  UpOptions,
} from "../up/options.ts";

/** Adds the commands that run until they are stopped: `up`, `server`, `agent`, `simulator`. */
export function addServers(program: Command, context: CommandContext): void {
  const up = program
    .command("up")
    .description("Run everything here: control plane, database, agent, and a simulator if wanted")
    .option("--simulator", "render on a simulated ComfyUI, never on a real one")
    .option("--comfyui <urls>", "running ComfyUIs, separated by commas (COMFYUI_URL)")
    .option("--demo", "render one picture in spite of a fault, then go on")
    .option("--time-scale <factor>", "speed of the simulator: 1 is real, 0 is at once", factor);
  withMachineSettings(withServerSettings(up)).action(async (options: UpOptions) => {
    const { runUp } = await import("../up/run-up.ts");
    await runUp(options, context);
  });

  const server = program
    .command("server")
    .description("Run the control plane alone; agents connect to it");
  withServerSettings(server).action(async (options: SettingOptions) => {
    const { runServer } = await import("../up/run-server.ts");
    await runServer(options, context);
  });

  const agent = program
    .command("agent")
    .description(
      "Run the agent of this machine: it installs what machine.yaml says, keeps its ComfyUIs running, and takes jobs for them",
    )
    .option("--server <url>", "the control plane (HOLDFAST_URL; default http://127.0.0.1:8328)")
    .option("--comfyui <urls>", "running ComfyUIs, separated by commas (COMFYUI_URL)")
    .option("--token <key>", "API key of role agent (HOLDFAST_API_KEY)")
    .option("--token-file <file>", "file that holds the key (HOLDFAST_API_KEY_FILE)")
    .option("--enroll-token <token>", "one-time token to get a key with (HOLDFAST_ENROLL_TOKEN)")
    .option("--name <name>", "name of this machine (HOLDFAST_MACHINE_NAME; default: its host name)")
    .option("--keep-instances", "at the end, leave this machine's instances to the next agent");
  withMachineSettings(withCommonSettings(agent)).action(async (options: AgentCommandOptions) => {
    const { runAgent } = await import("../up/run-agent.ts");
    await runAgent(options, context);
  });

  program
    .command("simulator")
    .description("Run a simulated ComfyUI: same protocol, no GPU, faults on command")
    .option("--host <host>", "address to listen on", "127.0.0.1")
    .option("--port <port>", "port; 0 takes a free one", portNumber, 8188)
    .option("--preset <card>", "the simulated card, e.g. 24gb")
    .option("--time-scale <factor>", "1 is about a real card's speed, 0 is at once", factor)
    .option("--seed <number>", "seed of everything random", wholeNumber)
    .option("--data-dir <folder>", "keep files there instead of in memory")
    .option("--restart-delay-ms <ms>", "how long a crashed process stays away", wholeNumber)
    .option("--fault <rule>", "a fault as JSON, or @file (repeatable)", collect)
    .option("--verbose", "print what a ComfyUI would log")
    .action(async (options: SimulatorCommandOptions) => {
      const { runSimulatorCommand } = await import("../up/run-simulator.ts");
      await runSimulatorCommand(options, context);
    });
}

function withCommonSettings(command: Command): Command {
  return command
    .option("--home <folder>", "folder for everything Holdfast keeps (HOLDFAST_HOME)")
    .option("--log-level <level>", "debug, info, warn, error or silent (HOLDFAST_LOG_LEVEL)")
    .option("--log-format <format>", "auto, json or pretty (HOLDFAST_LOG_FORMAT)");
}

function withMachineSettings(command: Command): Command {
  return command
    .option("--manifest <file>", "what this machine should be (HOLDFAST_MACHINE_MANIFEST)")
    .option("--machine-dir <folder>", "folder for what is installed (HOLDFAST_MACHINE_DIR)")
    .option("--health-host <host>", "address of the health server (HOLDFAST_HEALTH_HOST)")
    .option("--health-port <port>", "its port, by default 9090 (HOLDFAST_HEALTH_PORT)");
}

function withServerSettings(command: Command): Command {
  return withCommonSettings(command)
    .option("--host <host>", "address to listen on (HOLDFAST_HOST; default 127.0.0.1)")
    .option("--port <port>", "port of the API (HOLDFAST_PORT; default 8328)")
    .option("--store <place>", "where files are kept: a folder or s3://bucket (HOLDFAST_STORE)")
    .option("--fleet <file>", "pools of machines to start and end (HOLDFAST_FLEET_FILE)")
    .option("--public-url <url>", "where machines of the fleet reach it (HOLDFAST_PUBLIC_URL)");
}
