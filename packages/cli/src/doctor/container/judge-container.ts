/** Whether this host can run the containers, and what to do where it cannot. Pure. */
import { assertNever } from "@holdfast/runtime";
import { fieldOf } from "../../api/api-client.ts";
import type { Finding } from "../finding.ts";
import type { ContainerFacts, ModelsFolder, PortFact, ProgramAnswer } from "./container-facts.ts";

/** The oldest Docker that knows `--gpus` and the compose file's features. */
const OLDEST_DOCKER = [20, 10] as const;
/** The oldest driver that the machine image's CUDA starts on. */
const OLDEST_DRIVER = 535;
/** Longest part of a program's own words that is shown. */
const WORDS_MAX = 300;

const INSTALL_DOCKER =
  "install Docker Engine 20.10 or newer: https://docs.docker.com/engine/install";
const TOOLKIT =
  "install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker";

/** All findings, in the order in which they are to be mended. */
export function judgeContainer(facts: ContainerFacts): readonly Finding[] {
  const engine = judgeEngine(facts.version);
  return [
    engine,
    judgeCompose(facts.compose),
    judgeDriver(facts.driver),
    // Without an engine nobody can say how it is configured.
    ...(engine.state === "fail" && !isAnswering(facts.version) ? [] : [judgeToolkit(facts.info)]),
    judgeModels(facts.modelsPath, facts.models),
    ...facts.ports.map(judgePort),
  ];
}

function isAnswering(version: ProgramAnswer): boolean {
  return (
    version.kind === "ended" && textOf(jsonOf(version.stdout), "Server", "Version") !== undefined
  );
}

function judgeEngine(answer: ProgramAnswer): Finding {
  const name = "Docker";
  if (answer.kind === "missing") {
    return { name, state: "fail", found: "not installed", fix: INSTALL_DOCKER };
  }
  if (answer.kind === "silent") {
    const found = `the engine does not answer within ${answer.limitMs / 1_000} s`;
    return { name, state: "fail", found, fix: "sudo systemctl restart docker" };
  }
  const server = textOf(jsonOf(answer.stdout), "Server", "Version");
  if (server === undefined) {
    const isForbidden = /permission denied/i.test(answer.stderr);
    return {
      name,
      state: "fail",
      found: `the engine cannot be asked: ${wordsOf(answer)}`,
      fix: isForbidden
        ? "add this account to the group docker (sudo usermod -aG docker $USER) and log in again"
        : "start it: sudo systemctl enable --now docker",
    };
  }
  const [major = 0, minor = 0] = server.split(".").map((part) => Number.parseInt(part, 10));
  const [wantMajor, wantMinor] = OLDEST_DOCKER;
  const isNewEnough = major > wantMajor || (major === wantMajor && minor >= wantMinor);
  const found = `engine ${server} answers`;
  return isNewEnough
    ? { name, state: "ok", found }
    : { name, state: "fail", found, fix: INSTALL_DOCKER };
}

function judgeCompose(answer: ProgramAnswer): Finding {
  const name = "Compose";
  const fix = "install the plugin docker-compose-plugin: https://docs.docker.com/compose/install";
  const version = answer.kind === "ended" ? textOf(jsonOf(answer.stdout), "version") : undefined;
  if (version === undefined) {
    return { name, state: "warn", found: "no plugin: infra/compose.yaml cannot be used", fix };
  }
  const isNewEnough = Number.parseInt(version.replace(/^v/, ""), 10) >= 2;
  const found = version.replace(/^v/, "");
  return isNewEnough ? { name, state: "ok", found } : { name, state: "warn", found, fix };
}

function judgeDriver(answer: ProgramAnswer): Finding {
  const name = "NVIDIA driver";
  const fix = `install driver ${OLDEST_DRIVER} or newer on the host; in the image there is none`;
  if (answer.kind === "missing") {
    return { name, state: "fail", found: "there is no nvidia-smi", fix };
  }
  if (answer.kind === "silent") {
    const found = `nvidia-smi does not answer within ${answer.limitMs / 1_000} s`;
    return { name, state: "fail", found, fix: "look at dmesg; a driver that hangs wants a reboot" };
  }
  const versions = answer.stdout.split("\n").map((line) => line.trim());
  const version = versions.find((line) => /^\d+(?:\.\d+)+$/.test(line));
  if (version === undefined) {
    return { name, state: "fail", found: `nvidia-smi: ${wordsOf(answer)}`, fix };
  }
  const cards = versions.filter((line) => line === version).length;
  const found = `${version}, ${cards} ${cards === 1 ? "card" : "cards"}`;
  return Number.parseInt(version, 10) >= OLDEST_DRIVER
    ? { name, state: "ok", found }
    : { name, state: "fail", found, fix };
}

/** The toolkit: as a runtime of the engine, or as devices of CDI that the engine found. */
function judgeToolkit(answer: ProgramAnswer): Finding {
  const name = "NVIDIA container toolkit";
  const info = answer.kind === "ended" ? jsonOf(answer.stdout) : undefined;
  if (answer.kind !== "ended" || info === undefined) {
    const found = `docker info: ${answer.kind === "ended" ? wordsOf(answer) : "does not answer"}`;
    return { name, state: "fail", found, fix: "sudo systemctl restart docker" };
  }
  const runtimes = fieldOf(info, "Runtimes");
  if (typeof runtimes === "object" && runtimes !== null && "nvidia" in runtimes) {
    return { name, state: "ok", found: "the engine has the runtime nvidia" };
  }
  const devices = fieldOf(info, "DiscoveredDevices");
  const cdi = (Array.isArray(devices) ? devices : [])
    .map((device) => fieldOf(device, "ID"))
    .filter((id): id is string => typeof id === "string" && id.startsWith("nvidia.com/gpu="));
  if (cdi.length > 0) return { name, state: "ok", found: `the engine has ${cdi.join(", ")} (CDI)` };
  const found = "the engine has neither the runtime nvidia nor a CDI device nvidia.com/gpu";
  return { name, state: "fail", found, fix: TOOLKIT };
}

function judgeModels(path: string, models: ModelsFolder): Finding {
  const name = "models";
  switch (models.kind) {
    case "absent": {
      const fix = `sudo mkdir -p ${path}/checkpoints, put models there; or name another with --models`;
      return { name, state: "fail", found: `${path} is not there`, fix };
    }
    case "no_folder": {
      const fix = "name a folder with --models";
      return { name, state: "fail", found: `${path} is no folder`, fix };
    }
    case "folder": {
      const { entries, isOpen } = models;
      if (!isOpen) {
        const found = `${path} cannot be listed by the account of the image (uid 10001)`;
        return { name, state: "fail", found, fix: `sudo chmod -R o+rX ${path}` };
      }
      if (entries === 0) {
        const fix = `put models below it, in ComfyUI's folders: ${path}/checkpoints, ${path}/loras, …`;
        return { name, state: "warn", found: `${path} is empty`, fix };
      }
      return { name, state: "ok", found: `${path}: ${entries ?? "some"} entries` };
    }
    default:
      return assertNever(models);
  }
}

function judgePort(fact: PortFact): Finding {
  const name = `port ${fact.port}`;
  switch (fact.kind) {
    case "free":
      return { name, state: "ok", found: "free" };
    case "refused":
      return { name, state: "fail", found: fact.reason, fix: "publish another port" };
    case "taken":
      // The machine itself, once it runs.
      return fact.holder.includes("docker-proxy")
        ? {
            name,
            state: "warn",
            found: "published by a container",
            fix: `docker ps --filter publish=${fact.port} says by which`,
          }
        : {
            name,
            state: "fail",
            found: `taken by ${fact.holder}`,
            fix: "stop that, or publish another port in compose.yaml",
          };
    default:
      return assertNever(fact);
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // A client too old for the format, or no JSON for want of an answer.
  }
}

function textOf(value: unknown, ...path: readonly string[]): string | undefined {
  let found = value;
  for (const key of path) found = fieldOf(found, key);
  return typeof found === "string" && found !== "" ? found : undefined;
}

/** A program's own words on one line. */
function wordsOf(answer: Extract<ProgramAnswer, { kind: "ended" }>): string {
  const words = answer.stderr.trim() === "" ? answer.stdout : answer.stderr;
  const line = words.trim().replaceAll(/\s+/g, " ").slice(0, WORDS_MAX);
  return line === "" ? `exit code ${answer.exitCode}` : line;
}
