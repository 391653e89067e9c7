/** Which build of PyTorch fits a machine. Pure. */
import type { GpuDiscovery } from "@holdfast/gpu";
import type { RocmFacts } from "./rocm-facts.ts";

/** What a choice is made from. */
export interface TorchFacts {
  /** `torch.backend` of the manifest: `auto`, or what somebody chose. */
  readonly wanted: string;
  readonly gpus: GpuDiscovery;
  readonly rocm: RocmFacts;
  /** `process.platform`. */
  readonly platform: string;
}

/** A build, and why. */
export interface TorchChoice {
  /** `cpu`, `cu128`, `rocm6.4`, …; `none` leaves torch to the requirements. */
  readonly backend: string;
  readonly reason: string;
  /** What will probably not work; null when nothing speaks against it. */
  readonly warning: string | null;
  /** Set for `auto` when not all cards could be asked for: the choice may be another when they can. */
  readonly uncertain: {
    readonly reason: string;
    readonly advice: string;
    /** It fits cards that were found; otherwise it is for a machine without any. */
    readonly isUsable: boolean;
  } | null;
}

type Build = Omit<TorchChoice, "uncertain">;

/** CUDA builds of PyTorch, newest first, and the least CUDA version of the driver for each. */
const CUDA_BUILDS: readonly (readonly [backend: string, cuda: number])[] = [
  ["cu130", 13.0],
  ["cu128", 12.8],
  // Within a major version any driver of it will do, so 12.0 to 12.5 take this one.
  ["cu126", 12.0],
  ["cu118", 11.0],
];

/** Least driver for a CUDA version (NVIDIA's table for Linux), where no CUDA version is told. */
const DRIVER_CUDA: readonly (readonly [driver: number, cuda: number])[] = [
  [580, 13.0],
  [570, 12.8],
  [560, 12.6],
  [525, 12.0],
  [450, 11.0],
];

/** From CUDA 12.8 on the builds have no code for cards before Turing. */
const TURING = 7.5;
/** Blackwell needs a build of CUDA 12.8 or later. */
const BLACKWELL = 10;

/** Builds for ROCm, newest first. Wheels bring their own ROCm; only the kernel's driver has to fit. */
const ROCM_BUILDS: readonly number[] = [7.0, 6.4, 6.3, 6.2];
const ROCM_DEFAULT = "rocm6.4";

/** Chooses a build. What somebody chose is kept, with a warning when it will probably not work. */
export function chooseTorchBackend(facts: TorchFacts): TorchChoice {
  const best = choose(facts);
  const { wanted } = facts;
  if (wanted === "auto") return { ...best, uncertain: uncertainty(best, facts) };
  const warning = wanted === best.backend ? null : doubt(wanted, best, facts);
  return { backend: wanted, reason: "the manifest says so", warning, uncertain: null };
}

function uncertainty({ backend }: Build, facts: TorchFacts): TorchChoice["uncertain"] {
  const { gpus, failure } = facts.gpus;
  if (facts.platform === "darwin" || failure === null || failure.isNoGpu) return null;
  const { reason, advice } = failure;
  return { reason, advice, isUsable: gpus.length > 0 && backend.startsWith("cu") };
}

function choose(facts: TorchFacts): Build {
  const { gpus, rocm, platform } = facts;
  if (platform === "darwin") {
    return chosen("cpu", "macOS: the build without CUDA is the one with Metal");
  }
  if (gpus.gpus.length > 0) return forCuda(gpus);
  if (rocm.hasKfd && (platform === "linux" || rocm.hasRocm)) return forRocm(rocm);
  const why = gpus.failure?.reason ?? "no GPU was found";
  if (gpus.failure !== null && !gpus.failure.isNoGpu) {
    const warning = `there seems to be a GPU, but ${why}: mend that, or choose \`torch.backend\` yourself`;
    return { backend: "cpu", reason: why, warning };
  }
  if (rocm.hasRocm) {
    const warning = "ROCm is installed, but /dev/kfd is not there: the amdgpu driver is not loaded";
    return { backend: "cpu", reason: "no GPU can be used", warning };
  }
  return chosen("cpu", why);
}

function forCuda({ gpus, cudaVersion, driverVersion }: GpuDiscovery): Build {
  const cuda = cudaVersion === null ? cudaOfDriver(driverVersion) : Number(cudaVersion);
  const told =
    cudaVersion === null
      ? `driver ${driverVersion ?? "unknown"}`
      : `the driver takes CUDA ${cudaVersion}`;
  if (cuda === null) {
    const warning =
      "it could not be told which CUDA the driver takes: choose `torch.backend` yourself, or update the driver";
    return { backend: "cpu", reason: told, warning };
  }
  const fit = CUDA_BUILDS.filter(([, least]) => least <= cuda).map(([backend]) => backend);
  if (fit.length === 0) {
    const warning = "it is too old for any build of PyTorch: update the driver";
    return { backend: "cpu", reason: told, warning };
  }
  return byCards(fit, told, gpus);
}

function byCards(fit: readonly string[], told: string, gpus: GpuDiscovery["gpus"]): Build {
  const capabilities = gpus.flatMap(({ computeCapability }) => {
    const number = Number(computeCapability ?? Number.NaN);
    return Number.isFinite(number) ? [number] : [];
  });
  const isOld = capabilities.some((one) => one < TURING);
  const isNew = capabilities.some((one) => one >= BLACKWELL);
  const newest = fit[0]!;
  if (isNew && isOld) {
    const warning =
      "no build has code for all cards: those before Turing will not work beside a Blackwell one";
    return { backend: newest, reason: told, warning };
  }
  const older = fit.find((backend) => backend === "cu126" || backend === "cu118");
  if (isOld && older !== undefined) {
    return chosen(older, `${told}; later builds have no code for cards before Turing`);
  }
  return chosen(newest, told);
}

function cudaOfDriver(driverVersion: string | null): number | null {
  const major = Number(/^(\d+)/.exec(driverVersion ?? "")?.[1] ?? Number.NaN);
  if (!Number.isFinite(major)) return null;
  // Older than all of them is told as what it is.
  return DRIVER_CUDA.find(([least]) => least <= major)?.[1] ?? 0;
}

function forRocm({ version }: RocmFacts): Build {
  if (version === null) return chosen(ROCM_DEFAULT, "an AMD GPU; the version of ROCm is not told");
  const have = Number.parseFloat(version);
  const fit = ROCM_BUILDS.find((one) => one <= have);
  if (fit !== undefined) return chosen(`rocm${fit.toFixed(1)}`, `an AMD GPU with ROCm ${version}`);
  const warning = `ROCm ${version} is older than any build of PyTorch: update it if GPUs are not found`;
  return { backend: "rocm6.2", reason: `an AMD GPU with ROCm ${version}`, warning };
}

function chosen(backend: string, reason: string): Build {
  return { backend, reason, warning: null };
}

/** What speaks against a build that somebody chose. */
function doubt(wanted: string, best: Build, { gpus, rocm }: TorchFacts): string | null {
  const cuda = /^cu(\d+)(\d)$/.exec(wanted);
  if (cuda !== null) return cudaDoubt(Number(`${cuda[1]}.${cuda[2]}`), wanted, gpus);
  if (wanted.startsWith("rocm")) {
    return rocm.hasKfd ? null : `${wanted} needs an AMD GPU, and /dev/kfd is not there`;
  }
  if (wanted === "cpu" && best.backend !== "cpu") {
    return `a GPU could be used with ${best.backend} (${best.reason})`;
  }
  return null;
}

function cudaDoubt(cuda: number, wanted: string, gpus: GpuDiscovery): string | null {
  if (gpus.gpus.length === 0) {
    return `${wanted} needs an NVIDIA GPU: ${gpus.failure?.reason ?? "none was found"}`;
  }
  const taken =
    gpus.cudaVersion === null ? cudaOfDriver(gpus.driverVersion) : Number(gpus.cudaVersion);
  // Within a major version newer builds run on older drivers.
  if (taken === null || Math.floor(taken) >= Math.floor(cuda)) return null;
  return `${wanted} needs a driver for CUDA ${Math.floor(cuda)}, and this one takes ${taken}: update it`;
}
