/** Settings of experiments: how services are checked (CONTRACTS C6, C7), and where MLflow is. */
import { integerSetting, numberSetting, optionalTextSetting, secretSetting } from "./config.ts";

/** The settings, under the names that the code uses. */
export const EXPERIMENT_SETTINGS = {
  healthCheckTimeoutSeconds: numberSetting(
    {
      env: "HEALTH_CHECK_TIMEOUT",
      unit: "seconds",
      meaning: "How long a service that an experiment needs may take to answer a health check.",
    },
    { over: 0, max: 3_600, default: 5 },
  ),
  healthCheckAttempts: integerSetting(
    {
      env: "HEALTH_CHECK_RETRIES",
      unit: "attempts",
      meaning: "Attempts of one health check of an experiment, the first among them.",
    },
    { min: 1, max: 1_000, default: 3 },
  ),
  healthCheckRetryDelaySeconds: numberSetting(
    {
      env: "HEALTH_CHECK_RETRY_DELAY",
      unit: "seconds",
      meaning:
        "Pause between two attempts, and between two looks of an experiment that waits for services.",
    },
    { over: 0, max: 86_400, default: 30 },
  ),
  periodicHealthCheckInterval: integerSetting(
    {
      env: "PERIODIC_HEALTH_CHECK_INTERVAL",
      unit: "runs",
      meaning: "Services are checked again after so many runs of an experiment.",
    },
    { min: 1, max: 1_000_000, default: 10 },
  ),
  mlflowTrackingUri: optionalTextSetting({
    env: "MLFLOW_TRACKING_URI",
    meaning:
      "Address of the MLflow that is told of an experiment's runs and checks; without it none is.",
  }),
  mlflowTrackingUsername: optionalTextSetting({
    env: "MLFLOW_TRACKING_USERNAME",
    meaning: "User of MLflow.",
  }),
  mlflowTrackingPassword: secretSetting({
    env: "MLFLOW_TRACKING_PASSWORD",
    meaning: "… and its password.",
  }),
  mlflowTrackingToken: secretSetting({
    env: "MLFLOW_TRACKING_TOKEN",
    meaning: "Bearer token for MLflow, where there is no user and password.",
  }),
};
