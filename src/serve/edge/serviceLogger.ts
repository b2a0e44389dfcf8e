import type { LogRecord } from '../../core/journal/types.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { resolvedPlanToJson } from '../../run/executor/messages.ts'
import type { ServedRecoveryEvent, ServiceEvent } from './types.ts'

/** Where records go; a log that cannot be written drops them and says so by itself. */
export interface LogSink {
  write(record: LogRecord): void
}

/** Writes events of a service to the decision log, whose times count from `beganSeconds`. */
export function serviceLogger(
  sink: LogSink,
  model: ModelSpec,
  beganSeconds: number,
): (event: ServiceEvent) => void {
  return (event) => {
    const record = recordOf(event, event.atSeconds - beganSeconds, model)
    if (record !== null) sink.write(record)
  }
}

/** Null for an event that the log has no record for. */
function recordOf(event: ServiceEvent, atSeconds: number, model: ModelSpec): LogRecord | null {
  switch (event.kind) {
    case 'request-queued': {
      const { request, promptTokens, maxNewTokens } = event
      return { kind: 'arrival', atSeconds, request, promptTokens, maxNewTokens }
    }
    case 'decision': {
      const { request, reason, source, propensity, observation, decideSeconds, fromToken, rebuild } = event
      return {
        kind: 'decision',
        atSeconds,
        request,
        reason,
        source,
        propensity,
        decideSeconds,
        observation: observation === null ? null : Array.from(observation),
        plan: resolvedPlanToJson(model, event.placed),
        fromToken,
        rebuild,
      }
    }
    case 'request-ended': {
      const { request, end, detail, tokens, stats, use } = event
      return {
        kind: 'outcome',
        atSeconds,
        request,
        end,
        detail,
        outputTokens: tokens,
        queueSeconds: stats.queueSeconds,
        ttftSeconds: stats.ttftSeconds,
        tpotSeconds: stats.tpotSeconds,
        endToEndSeconds: stats.endToEndSeconds,
        upBytes: stats.upBytes,
        downBytes: stats.downBytes,
        messages: stats.messages,
        edgeSeconds: stats.edgeSeconds,
        energyJoules: use?.energyJoules ?? null,
        accuracyLoss: use?.accuracyLoss ?? null,
        cloudSeconds: use?.cloudSeconds ?? null,
      }
    }
    case 'transfer': {
      const { direction, bytes, startSeconds } = event
      return { kind: 'transfer', atSeconds, direction, bytes, seconds: event.atSeconds - startSeconds }
    }
    case 'heartbeat':
      return { kind: 'heartbeat', atSeconds, rttSeconds: event.rttSeconds }
    case 'load':
      return { kind: 'load', atSeconds, tenants: event.tenants }
    case 'token':
    case 'edge-pass':
    case 'link-probed':
    case 'degraded':
      return null
    default: {
      const request = 'request' in event ? event.request : null
      return { kind: 'event', atSeconds, name: event.kind, request, detail: detailOf(event) }
    }
  }
}

function detailOf(event: ServedRecoveryEvent): string {
  switch (event.kind) {
    case 'link-up':
      return `after ${event.attempts} attempts, away ${event.awaySeconds.toFixed(3)} s`
    case 'link-down':
    case 'link-refused':
      return event.reason
    case 'link-retry':
      return `attempt ${event.attempt} in ${event.delaySeconds.toFixed(3)} s`
    case 'request-refused':
      return event.code
    case 'request-resumed':
      return `${event.rebuild}, after ${event.tokens} tokens, ${event.bytes} bytes again`
    case 'request-switched':
      return `${event.rebuild}, from token ${event.fromToken}`
    case 'replay-diverged':
      return `at position ${event.position}`
  }
}
