import { readSecret, type ControlPlaneSettings } from "@holdfast/control-plane/process";
import { parseTrackingTarget, type TrackingTarget } from "@holdfast/mlflow";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** MLflow of flag and settings; undefined for none. Throws {@link CommandFailure} when it is wrong. */
export function mlflowTarget(
  flag: string | boolean | undefined,
  settings: ControlPlaneSettings,
): TrackingTarget | undefined {
  if (flag === false) return undefined;
  const given = typeof flag === "string" ? flag : settings.mlflowTrackingUri;
  if (given === undefined || given.trim() === "") return undefined;
  const { mlflowTrackingUsername, mlflowTrackingPassword, mlflowTrackingToken } = settings;
  const parsed = parseTrackingTarget({
    trackingUri: given,
    username: mlflowTrackingUsername,
    password: mlflowTrackingPassword && readSecret(mlflowTrackingPassword),
    token: mlflowTrackingToken && readSecret(mlflowTrackingToken),
  });
  if (parsed.kind === "ok") return parsed.target;
  const message =
    typeof flag === "string"
      ? parsed.message.replace("MLFLOW_TRACKING_URI", "--mlflow")
      : parsed.message;
  throw new CommandFailure(EXIT.refused, message);
}
