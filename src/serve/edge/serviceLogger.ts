import { resolvedPlanToJson } from '../../run/executor/messages.ts'
import type { PlanSwitch } from '../../run/executor/recoveryTypes.ts'
import type { DecisionReason, LogRecord, OutcomeRecord } from '../../core/journal/types.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { delivered, type RequestState } from './requestState.ts'
import type { Timed } from './types.ts'

/** Where records go; a log that cannot be written drops them and says so by itself. */
export interface LogSink {
  write(record: LogRecord): void
}

/** Writes down what happens, on the log's own clock. */
export class ServiceLogger {
  private readonly sink: LogSink | null
  private readonly model: ModelSpec
  private readonly beganSeconds: number

  constructor(sink: LogSink | null, model: ModelSpec, beganSeconds: number) {
    this.sink = sink
    this.model = model
    this.beganSeconds = beganSeconds
  }

  arrival({ number, request, arrivedSeconds }: RequestState): void {
    this.sink?.write({
      ...{ kind: 'arrival', atSeconds: this.at(arrivedSeconds), request: number },
      ...{ promptTokens: request.prompt.length, maxNewTokens: request.maxNewTokens },
    })
  }

  decision(
    job: RequestState,
    choice: Timed,
    reason: DecisionReason,
    entry: PlanSwitch,
    atSeconds: number,
  ): void {
    const { source, propensity, observation, decideSeconds } = choice
    this.sink?.write({
      ...{ kind: 'decision', request: job.number, reason, source, propensity, decideSeconds },
      atSeconds: this.at(atSeconds),
      observation: observation === null ? null : Array.from(observation),
      plan: resolvedPlanToJson(this.model, entry),
      ...{ fromToken: entry.fromToken, rebuild: entry.rebuild },
    })
  }

  outcome(job: RequestState, end: OutcomeRecord['end'], detail: string, atSeconds: number): void {
    const { arrivedSeconds, progress } = job
    const { dispatchedSeconds, firstTokenSeconds, lastTokenSeconds, ids, handle } = progress
    const further = ids.length - 1
    this.sink?.write({
      ...{ kind: 'outcome', atSeconds: this.at(atSeconds), request: job.number, end, detail },
      outputTokens: delivered(job),
      queueSeconds: (dispatchedSeconds ?? atSeconds) - arrivedSeconds,
      ttftSeconds: firstTokenSeconds === null ? null : firstTokenSeconds - arrivedSeconds,
      tpotSeconds: further < 1 ? null : (lastTokenSeconds! - firstTokenSeconds!) / further,
      endToEndSeconds: atSeconds - arrivedSeconds,
      ...{ upBytes: handle?.upBytes ?? 0, downBytes: handle?.downBytes ?? 0 },
      edgeSeconds: progress.edgeSeconds,
    })
  }

  transfer(direction: 'up' | 'down', bytes: number, startSeconds: number, endSeconds: number): void {
    const seconds = endSeconds - startSeconds
    this.sink?.write({ kind: 'transfer', atSeconds: this.at(endSeconds), direction, bytes, seconds })
  }

  heartbeat(atSeconds: number, rttSeconds: number): void {
    this.sink?.write({ kind: 'heartbeat', atSeconds: this.at(atSeconds), rttSeconds })
  }

  load(tenants: number, atSeconds: number): void {
    this.sink?.write({ kind: 'load', atSeconds: this.at(atSeconds), tenants })
  }

  event(name: string, atSeconds: number, request: number | null, detail: string): void {
    this.sink?.write({ kind: 'event', atSeconds: this.at(atSeconds), name, request, detail })
  }

  private at(seconds: number): number {
    return seconds - this.beganSeconds
  }
}
