export { startApi } from './http/server.ts'
export { DEFAULT_API_LIMITS } from './http/options.ts'
export type { ApiLimits, ApiOptions, ApiServer, ApiTls, RequestRecord } from './http/options.ts'
export { ANONYMOUS, ApiKeys, newApiKey, parseApiKeys, readApiKeys } from './http/keys.ts'
export { Registry } from './http/metrics.ts'
export { BackendError } from './http/types.ts'
export type {
  Backend,
  BackendCode,
  CompletionStreamListener as CompletionListener,
  CompletionRequest,
  CompletionOutput as CompletionResult,
  Readiness,
  SamplingParams as SamplingOptions,
  ServedModel,
} from './http/types.ts'
export type { Route } from './http/routes.ts'
