import { sumCurve } from '../plan/curves.ts'
import { RESOURCE, type Program, type Stage } from '../plan/program.ts'

/** Profiled seconds of work on each side. */
export interface Work {
  readonly edgeSeconds: number
  readonly cloudSeconds: number
}

/** The work that a program is expected to bring for `outputTokens` tokens, asks in their expected share. */
export function expectedWork(program: Program, promptTokens: number, outputTokens: number): Work {
  const total = [0, 0]
  const cycles = Math.max(0, Math.round(outputTokens) - 1)
  const add = (stages: readonly Stage[], share: number, times: number): void => {
    for (const stage of stages) {
      if (stage.resource !== RESOURCE.edge && stage.resource !== RESOURCE.cloud) continue
      const knots = stage.resource === RESOURCE.edge ? program.edgeKnots : program.cloudKnots
      const curve =
        stage.curve === null || times === 0
          ? 0
          : sumCurve(knots, stage.curve, promptTokens + 1, promptTokens + times)
      total[stage.resource === RESOURCE.edge ? 0 : 1] += share * (times * stage.seconds + curve)
    }
  }
  add(program.prefill.stages, 1, 1)
  const asked = program.cycles.length > 1 ? program.askShare : 0
  add(program.cycles[0].stages, 1 - asked, cycles)
  if (asked > 0) add(program.cycles[1].stages, asked, cycles)
  return { edgeSeconds: total[0], cloudSeconds: total[1] }
}

/** A request in flight that outlasts what was predicted is taken to have this share of its work left. */
const LEAST_LEFT = 0.1

/** Remaining work of the requests in flight, from predicted lengths and completed stages. */
export class WorkLedger {
  private readonly expected = new Map<number, Work>()

  add(request: number, work: Work): void {
    this.expected.set(request, work)
  }

  remove(request: number): void {
    this.expected.delete(request)
  }

  /** `done` tells the busy seconds a request has had on each side. */
  remaining(done: (request: number) => Work): Work {
    let edgeSeconds = 0
    let cloudSeconds = 0
    for (const [request, work] of this.expected) {
      const had = done(request)
      edgeSeconds += Math.max(work.edgeSeconds - had.edgeSeconds, LEAST_LEFT * work.edgeSeconds)
      cloudSeconds += Math.max(work.cloudSeconds - had.cloudSeconds, LEAST_LEFT * work.cloudSeconds)
    }
    return { edgeSeconds, cloudSeconds }
  }
}
