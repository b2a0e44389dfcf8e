export { decodeBoundary, encodeBoundary, payloadBytes } from './boundary.ts'
export { DEFAULT_SESSION_BYTES, SessionBudget } from './budget.ts'
export { CLOUD_DEFAULTS, CloudPeer } from './cloud.ts'
export type { CloudOptions } from './cloud.ts'
export { CloudLink, DEFAULT_BACKOFF, FixedLink, fixedLink } from './cloudLink.ts'
export type { CloudLinkOptions } from './cloudLink.ts'
export { EdgeExecutor } from './edge.ts'
export type { EdgeOptions, GenerateOptions } from './edge.ts'
export { ExecutionError } from './errors.ts'
export { greetingOf, readGreeting } from './greeting.ts'
export type { Greeting } from './greeting.ts'
export type { CloudLoad } from './load.ts'
export { placedPlanFromJson, placedPlanToJson } from './messages.ts'
export type { PlacedPlan } from './messages.ts'
export { openExecution } from './open.ts'
export type { Execution, ExecutionOptions } from './open.ts'
export type {
  Backoff,
  Deadlines,
  Dial,
  GenerationHandle,
  LinkState,
  PlanSwitch,
  Rebuild,
  RecoveryEvent,
} from './recoveryTypes.ts'
export { confidence, sampleToken } from './sampling.ts'
export { planSchedule, segmentLabel } from './schedule.ts'
export type { Schedule, Step } from './schedule.ts'
export type { SegmentFiles } from './sessions.ts'
export { GREEDY } from './types.ts'
export type {
  ExecutionEvent,
  GeneratedToken,
  GenerationRequest,
  GenerationResult,
  Sampling,
} from './types.ts'
