import { sumCurve } from '../../plan/price/curves.ts'
import { RESOURCE, type Program, type Stage } from '../../plan/price/program.ts'

/** Profiled seconds of work on each side. */
export interface Work {
  readonly edgeSeconds: number
  readonly cloudSeconds: number
}

/**
 * The work expected from a program for `outputTokens` tokens, with the expected share of questions to the cloud: busy
 * seconds alone, in closed form, because it is asked for at every token; test/policy/observation/observer.test.ts holds
 * it to `evaluateProgram`.
 */
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

/** A request in flight that exceeds its predicted length is assumed to have this share of its work left. */
const LEAST_LEFT = 0.1

/** Zero work. */
export const NO_WORK: Work = { edgeSeconds: 0, cloudSeconds: 0 }

interface Expected {
  readonly work: Work
  readonly had: Work
}

function left(expectedSeconds: number, doneSeconds: number): number {
  return Math.max(expectedSeconds - doneSeconds, LEAST_LEFT * expectedSeconds)
}

/** Remaining work of the requests in flight, from predicted lengths and completed stages. */
export class WorkLedger {
  private readonly expected = new Map<number, Expected>()

  /** `had`: busy seconds of the request before this work. */
  add(request: number, work: Work, had: Work = NO_WORK): void {
    this.expected.set(request, { work, had })
  }

  remove(request: number): void {
    this.expected.delete(request)
  }

  /** `done` returns the busy seconds of a request on each side so far; request `except` is excluded. */
  remaining(done: (request: number) => Work, except = -1): Work {
    let edgeSeconds = 0
    let cloudSeconds = 0
    for (const [request, { work, had }] of this.expected) {
      if (request === except) continue
      const now = done(request)
      edgeSeconds += left(work.edgeSeconds, now.edgeSeconds - had.edgeSeconds)
      cloudSeconds += left(work.cloudSeconds, now.cloudSeconds - had.cloudSeconds)
    }
    return { edgeSeconds, cloudSeconds }
  }
}
