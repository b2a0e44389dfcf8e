export { createEdge } from './edge/create.ts'
export type { ApiListenOptions, Edge, EdgeOptions, EdgeOutput, EdgeRequest } from './edge/create.ts'
export { DEFAULT_LIMITS } from './edge/types.ts'
export type { ServiceEvent, ServiceLimits } from './edge/types.ts'
export { createCloud, DEFAULT_CLOUD_LIMITS } from './cloud/create.ts'
export type { Cloud, CloudLimits, CloudOptions } from './cloud/create.ts'
export type { CloudEvent } from './cloud/types.ts'
export { DEFAULT_MEMORY_BYTES } from './side.ts'
export type { SideOptions } from './side.ts'
export { parseAddress } from '../core/address.ts'
export type { Address } from '../core/address.ts'
export type { TransportOptions } from '../run/executor/connectToCloud.ts'
export { startApi } from './http/server.ts'
export { DEFAULT_API_LIMITS } from './http/options.ts'
export type { ApiLimits, ApiOptions, ApiServer, ApiTls, RequestRecord } from './http/options.ts'
export { ANONYMOUS, ApiKeys, newApiKey, parseApiKeys, readApiKeys } from './http/keys.ts'
export { Registry } from './http/metrics.ts'
export { BackendError } from './http/types.ts'
export type {
  Backend,
  BackendCode,
  CompletionStreamListener,
  CompletionRequest,
  CompletionOutput,
  Readiness,
  ServedModel,
} from './http/types.ts'
export type { SamplingParams } from '../run/executor/types.ts'
export type { Route } from './http/routes.ts'
