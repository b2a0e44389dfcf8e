import { ApiError } from './errors.ts'
import type { HttpExchange } from './httpExchange.ts'
import { ApiMetrics } from './metrics.ts'
import { DEFAULT_API_LIMITS } from './options.ts'
import type { ApiLimits, ApiOptions } from './options.ts'
import { RateLimiter } from './rate.ts'

/**
 * What all requests of one API server share: its limits of rate, its metrics, who is inside, and whether it drains. How
 * many requests are taken, the backend decides.
 */
export class ApiState {
  readonly options: ApiOptions
  readonly limits: ApiLimits
  readonly metrics: ApiMetrics
  draining = false
  private readonly inside = new Set<HttpExchange>()
  private readonly limiter: RateLimiter | null
  private onEmpty: (() => void) | null = null

  constructor(options: ApiOptions) {
    this.options = options
    this.limits = { ...DEFAULT_API_LIMITS, ...options.limits }
    this.metrics = new ApiMetrics(options.registry)
    const { requestsPerMinute } = this.limits
    this.limiter = requestsPerMinute === null ? null : new RateLimiter(requestsPerMinute, options.clock)
  }

  /** A completion begins; call what it gives when the completion is over. Throws ApiError (429, 503). */
  enter(exchange: HttpExchange, principal: string): () => void {
    this.checkReady()
    const wait = this.limiter?.take(principal) ?? 0
    if (wait > 0) {
      const message = `Rate limit reached: ${this.limits.requestsPerMinute} requests a minute`
      throw new ApiError({
        status: 429,
        type: 'rate_limit_error',
        code: 'rate_limit_exceeded',
        message,
        retryAfterSeconds: Math.ceil(wait),
      })
    }
    this.inside.add(exchange)
    this.metrics.inFlight.set(this.inside.size)
    return () => {
      this.inside.delete(exchange)
      this.metrics.inFlight.set(this.inside.size)
      if (this.inside.size === 0) this.onEmpty?.()
    }
  }

  get readiness(): { readonly ready: boolean; readonly reason: string } {
    const { ready, reason } = this.options.backend.readiness
    return this.draining ? { ready: false, reason: 'draining' } : { ready, reason }
  }

  /** Resolves once nobody is inside, at once if so, or after `seconds`. */
  empty(seconds: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.inside.size === 0) {
        resolve()
        return
      }
      const disarm = this.options.timers.after(seconds, resolve)
      this.onEmpty = () => {
        disarm()
        resolve()
      }
    })
  }

  /** Gives up all that are inside; says how many. */
  abortAll(): number {
    const { size } = this.inside
    const message = 'the server is about to end; what was generated so far is kept in this answer'
    for (const exchange of this.inside)
      exchange.abort(unavailable('draining', message, this.limits.retrySeconds))
    return size
  }

  private checkReady(): void {
    const { ready, reason } = this.readiness
    if (ready) return
    const code = this.draining ? 'draining' : 'unavailable'
    throw unavailable(code, `not ready: ${reason}`, this.limits.retrySeconds)
  }
}

function unavailable(code: string, message: string, retryAfterSeconds: number): ApiError {
  return new ApiError({ status: 503, type: 'server_error', code, message, retryAfterSeconds })
}
