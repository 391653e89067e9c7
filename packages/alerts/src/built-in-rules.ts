/** The rules that are there without anybody having written one (CONTRACTS C2). */
import type { AlertRule, Threshold } from "./rule.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

const DEFAULTS = {
  alongside: [],
  forMs: 0,
  resolveAfterMs: MINUTE,
  noDataMs: 5 * MINUTE,
  labels: {},
} as const;

const above = (metric: string, value: number, resolveValue = value): Threshold => ({
  metric,
  where: {},
  comparison: "above",
  value,
  resolveValue,
});
const below = (metric: string, value: number, resolveValue = value): Threshold => ({
  metric,
  where: {},
  comparison: "below",
  value,
  resolveValue,
});

const FLEET: readonly AlertRule[] = [
  {
    ...DEFAULTS,
    name: "fleet_failure_rate",
    severity: "critical",
    summary: "More than half of the machines in the window failed: {words}",
    advice: "Look at the causes side by side before the breaker opens: holdfast fleet status.",
    when: above("fleet_failure_rate", 0.5, 0.4),
    // Fewer machines than the minimum say nothing.
    alongside: [above("fleet_failure_rate_checked", 0)],
  },
  {
    ...DEFAULTS,
    name: "fleet_no_machine",
    severity: "critical",
    summary: "No machine is healthy, and at least one is wanted",
    advice:
      "See why machines do not start: holdfast fleet status; holdfast fleet show NAME has one whole.",
    when: below("fleet_machines_healthy", 1),
    // A fleet that is at zero on purpose, without work, is as it should be.
    alongside: [above("fleet_machines_expected", 0)],
    forMs: 5 * MINUTE,
  },
  {
    ...DEFAULTS,
    name: "machines_silent",
    severity: "critical",
    summary: "No machine sends heartbeats ({words})",
    advice: "Look whether agents run, and whether they reach this address.",
    when: above("machines_silent_share", 0.99),
    forMs: 2 * MINUTE,
  },
];

const JOBS: readonly AlertRule[] = [
  {
    ...DEFAULTS,
    name: "jobs_failing",
    severity: "warning",
    summary: "{percent} of the jobs of the last 15 minutes failed ({words})",
    advice:
      "holdfast jobs list --status failed says why; statistics by class and machine say where.",
    when: above("jobs_failed_share", 0.1, 0.05),
    alongside: [
      above("jobs_failed_share_rise", 3, 1.5),
      // One or two are no rate: at night one job of three is a third. Three failed of three are told.
      above("jobs_failed_recently", 2, 0),
    ],
  },
  {
    ...DEFAULTS,
    name: "queue_old",
    severity: "warning",
    summary: "The oldest queued job has waited {duration}",
    advice: "See whether a machine can serve it, and whether the fleet is large enough.",
    when: above("jobs_oldest_queued_seconds", 600, 540),
  },
  {
    ...DEFAULTS,
    name: "jobs_unservable",
    severity: "warning",
    summary: "No machine can serve waiting jobs: {words}",
    advice:
      "Where no machine is connected, start one (holdfast fleet status says why none is there). Else put there what is missing, or cancel the jobs.",
    when: above("jobs_unservable", 0),
    // A machine that has just started has not told what it has.
    forMs: MINUTE,
  },
  {
    ...DEFAULTS,
    name: "job_poison",
    severity: "warning",
    summary: "Job {job} was set aside: {words}",
    advice: "Two instances died during it. Look at its attempts before it is queued again by hand.",
    when: above("jobs_poisoned", 0),
    resolveAfterMs: 0,
  },
  {
    ...DEFAULTS,
    name: "error_budget_burning",
    severity: "critical",
    summary: "The error budget is used up {value} times as fast as it may be: {words}",
    advice:
      "See what fails (holdfast jobs list --status failed), and what changed in the last hour.",
    // 12 % of the jobs. Less may be chance in an hour; 14.4, as for budgets of a thousandth, would be late.
    when: above("error_budget_burn_rate", 6, 3),
    // With fewer failed jobs an hour it is chance as well: one of three at night is no breach.
    alongside: [above("error_budget_failed_jobs", 4, 0)],
  },
];

const INSTANCES: readonly AlertRule[] = [
  {
    ...DEFAULTS,
    name: "instance_crashed",
    severity: "warning",
    summary: "ComfyUI crashed on {machine} ({instance}): {words}",
    advice: "Its job is queued again by itself. If it goes on, look at the instance's log.",
    when: above("instance_deaths", 0),
    resolveAfterMs: 0,
  },
  {
    ...DEFAULTS,
    name: "instance_unhealthy",
    severity: "warning",
    summary: "{instance} on {machine} has been unhealthy for {duration}: {words}",
    advice: "See its services there: holdfast machine status, or /services of its health server.",
    when: above("instance_unhealthy_seconds", 120),
    resolveAfterMs: 0,
  },
  {
    ...DEFAULTS,
    name: "instance_quarantined",
    severity: "warning",
    summary: "{instance} on {machine} was set aside: {words}",
    advice: "Jobs fail there and not elsewhere. Mend it, then lift the quarantine with uncordon.",
    when: above("instance_quarantined", 0),
    resolveAfterMs: 0,
  },
  {
    ...DEFAULTS,
    name: "gpu_faulty",
    severity: "critical",
    summary: "A GPU of {machine} reports a fault: {words}",
    advice: "Look at nvidia-smi -q there; some faults go with a reset, some with a new card.",
    when: above("machine_gpus_faulty", 0),
    forMs: MINUTE,
  },
  {
    ...DEFAULTS,
    name: "disk_nearly_full",
    severity: "warning",
    summary: "The disk of {machine} is nearly full: {words}",
    advice: "holdfast machine clean --dry-run says what can go there.",
    when: below("machine_disk_free_share", 0.05, 0.08),
    forMs: 2 * MINUTE,
  },
];

const TELLING: readonly AlertRule[] = [
  {
    ...DEFAULTS,
    name: "webhook_dead_letters",
    severity: "warning",
    summary: "Webhooks were given up in the last hour: {words}",
    advice:
      "GET /api/v1/webhook-deliveries?state=dead says why; replay them when the target is back.",
    when: above("webhook_deliveries_dead", 0),
    resolveAfterMs: 0,
  },
  {
    ...DEFAULTS,
    name: "alert_channel_dead",
    severity: "warning",
    summary: "Alerts cannot be delivered to {channel}: {words}",
    advice: "Mend the channel, then try it: holdfast alerts test.",
    when: above("alert_channel_dead", 0),
    resolveAfterMs: 0,
  },
];

/** Every built-in rule. One whose metric nobody tells is inactive. */
export const BUILT_IN_RULES: readonly AlertRule[] = [...FLEET, ...JOBS, ...INSTANCES, ...TELLING];
