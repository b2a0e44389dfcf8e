import { show } from '../../core/errors.ts'
import { ApiError } from './errors.ts'

/** What metrics and records call a path: a closed list, for labels must not come from requests. */
export type Route =
  | '/v1/chat/completions'
  | '/v1/completions'
  | '/v1/models'
  | '/v1/models/{id}'
  | '/healthz'
  | '/readyz'
  | '/metrics'
  | 'other'

/** The route that a path belongs to, and the id in it, where it has one. */
export interface RouteMatch {
  readonly route: Route
  /** The last part of /v1/models/{id}. */
  readonly id: string | null
}

const METHODS: Readonly<Record<Exclude<Route, 'other'>, readonly string[]>> = {
  '/v1/chat/completions': ['POST'],
  '/v1/completions': ['POST'],
  '/v1/models': ['GET'],
  '/v1/models/{id}': ['GET'],
  '/healthz': ['GET', 'HEAD'],
  '/readyz': ['GET', 'HEAD'],
  '/metrics': ['GET'],
}

const MODEL_PREFIX = '/v1/models/'

/** Which route a request's URL means; queries are left out of account. */
export function matchRoute(url: string): RouteMatch {
  const path = url.split('?', 1)[0]
  if (path.startsWith(MODEL_PREFIX) && path.length > MODEL_PREFIX.length) {
    return { route: '/v1/models/{id}', id: decoded(path.slice(MODEL_PREFIX.length)) }
  }
  const known = Object.hasOwn(METHODS, path) && path !== '/v1/models/{id}'
  return { route: known ? (path as Route) : 'other', id: null }
}

/** Throws 404 for a path that there is not, 405 for a method that it does not have. */
export function checkMethod({ route }: RouteMatch, method: string, url: string): void {
  if (route === 'other') {
    throw new ApiError({
      status: 404,
      type: 'invalid_request_error',
      code: 'unknown_url',
      message: `Unknown request URL: ${method} ${show(url)}`,
    })
  }
  const allowed = METHODS[route]
  if (allowed.includes(method)) return
  throw new ApiError({
    status: 405,
    type: 'invalid_request_error',
    code: 'method_not_allowed',
    message: `${route} takes ${allowed.join(' or ')}, found ${method}`,
    headers: { allow: allowed.join(', ') },
  })
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
