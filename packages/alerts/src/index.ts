export { BUILT_IN_RULES } from "./built-in-rules.ts";
export {
  CHANNEL_TYPES,
  CHANNELS_MAX,
  parseAlertChannels,
  type AlertmanagerChannel,
  type ChannelSettings,
  type EmailChannel,
  type SlackChannel,
  type WebhookChannel,
} from "./channel.ts";
export {
  evaluateAlerts,
  NO_ALERTS,
  type AlertChange,
  type AlertMemory,
  type Evaluation,
  type LiveAlert,
} from "./evaluate.ts";
export { cleanText, numberText, overSummary, secondsText } from "./label-text.ts";
export {
  NOTICE_ITEMS_MAX,
  planNotification,
  type ChannelStanding,
  type NoticeItem,
  type NotificationPlan,
  type TellableAlert,
  type TellingPolicy,
  type Told,
} from "./notify.ts";
export {
  entryName,
  OWN_RULES_MAX,
  parseAlertRule,
  parseAlertRules,
  toWireRule,
} from "./parse-rule.ts";
export { problemTexts, type Parsed, type ReadingProblem } from "./reading.ts";
export {
  isAtLeast,
  SEVERITIES,
  type AlertRule,
  type Labels,
  type Observation,
  type RuleEntry,
  type Sample,
  type Severity,
  type Threshold,
} from "./rule.ts";
export { ruleSet, type KnownRule, type RuleSource } from "./rule-set.ts";
export {
  findMistaken,
  MATCHERS_MAX,
  matches,
  matcherText,
  parseMatcher,
  SILENCE_MS_MAX,
  silenceOf,
  type Matcher,
  type Silence,
} from "./silence.ts";
