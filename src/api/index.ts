export { startApi } from './server.ts'
export { DEFAULT_API_LIMITS } from './options.ts'
export type { ApiLimits, ApiOptions, ApiServer, ApiTls, RequestRecord } from './options.ts'
export { ANONYMOUS, ApiKeys, newApiKey, parseApiKeys, readApiKeys } from './keys.ts'
export { Registry } from './metrics.ts'
export { BackendError } from './types.ts'
export type {
  Backend,
  BackendCode,
  CompletionListener,
  CompletionRequest,
  CompletionResult,
  Readiness,
  SamplingOptions,
  ServedModel,
} from './types.ts'
export type { Route } from './routes.ts'
