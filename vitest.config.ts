import { defineConfig } from "vitest/config";

// Tests import the packages' sources ("source" export condition), so nothing need be built first;
// only end-to-end, chaos and real tests start the built `holdfast` program.
const shared = {
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
};
const project = (name: string, include: string[], extra: Record<string, unknown> = {}) => ({
  ...shared,
  test: { name, include, ...extra },
});

export default defineConfig({
  ...shared,
  test: {
    reporters: ["default"],
    projects: [
      project(
        "unit",
        ["packages/*/src/**/*.test.ts", "scripts/**/*.test.ts", "infra/**/*.test.ts"],
        {
          exclude: ["**/*.db.test.ts", "**/node_modules/**", "**/dist/**"],
          // Property tests on a busy host take more than the default of 5 s.
          testTimeout: 30_000,
          // A process for each of 400 files takes longer than the tests. Nothing may be left behind by a file.
          isolate: false,
          maxWorkers: "100%",
        },
      ),
      project("db", ["packages/*/src/**/*.db.test.ts"], {
        globalSetup: ["./test/support/postgres-global-setup.ts"],
        testTimeout: 30_000,
        hookTimeout: 60_000,
        isolate: false,
        // One server: a long transaction of one file would hold up what others may read of their outbox.
        fileParallelism: false,
      }),
      project("conformance", ["packages/simulator/conformance/**/*.test.ts"], {
        // Against one real server the files would interrupt each other.
        fileParallelism: (process.env["HOLDFAST_TEST_COMFYUI_URL"] ?? "") === "",
        testTimeout: 60_000,
        hookTimeout: 60_000,
      }),
      project("simulation", ["test/simulation/**/*.test.ts"], {
        globalSetup: ["./test/support/postgres-global-setup.ts"],
        testTimeout: 120_000,
        hookTimeout: 60_000,
        maxWorkers: 2,
        sequence: { groupOrder: 2 },
      }),
      // By `npm run drill` alone; a short one runs with the simulation.
      project("drill", ["test/drill/**/*.test.ts"], {
        globalSetup: ["./test/support/postgres-global-setup.ts"],
        testTimeout: 1_800_000,
        hookTimeout: 60_000,
        fileParallelism: false,
      }),
      project("e2e", ["test/e2e/**/*.test.ts"], {
        testTimeout: 180_000,
        hookTimeout: 120_000,
        maxWorkers: 2,
        sequence: { groupOrder: 3 },
      }),
      project("page", ["test/page/**/*.test.ts"], {
        testTimeout: 120_000,
        hookTimeout: 120_000,
        fileParallelism: false,
      }),
      project("chaos", ["test/chaos/**/*.test.ts"], {
        testTimeout: 180_000,
        hookTimeout: 120_000,
        fileParallelism: false,
      }),
      project("real", ["test/real/**/*.test.ts"], {
        globalSetup: ["./test/support/postgres-global-setup.ts"],
        testTimeout: 300_000,
        hookTimeout: 120_000,
        fileParallelism: false,
      }),
      // With PM2, uv, git and Python as they are; skipped, and said so, where one cannot be had.
      project("machine", ["test/machine/**/*.test.ts"], {
        globalSetup: ["./test/support/postgres-global-setup.ts"],
        testTimeout: 180_000,
        hookTimeout: 600_000,
        // Two files at a time: each has its own folder, ports and PM2. More would starve each other.
        maxWorkers: 2,
        sequence: { groupOrder: 1 },
      }),
      project("parts", ["test/parts/**/*.test.ts"], {
        testTimeout: 600_000,
        hookTimeout: 600_000,
        fileParallelism: false,
      }),
    ],
  },
});
