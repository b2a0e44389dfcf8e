import type { ModelSpec } from '../../model/spec.ts'
import type { Connection, Frame } from '../wire/types.ts'
import { planFrame, type ResolvedPlan } from './messages.ts'

/** Less than the number of plans that a cloud keeps for one connection. */
const MAX_PLANS = 512

interface SentPlans {
  /** Numbers by the plan's bytes, oldest first. */
  readonly numbers: Map<string, number>
}

/** Remembers which plans each connection's cloud knows, and their numbers. */
export class PlanRegistry {
  private readonly model: ModelSpec
  private readonly books = new WeakMap<Connection, SentPlans>()

  constructor(model: ModelSpec) {
    this.model = model
  }

  /** The plan's number, and the frame that registers it if the cloud does not know it or had to forget it. */
  numberOf(connection: Connection, placed: ResolvedPlan): { number: number; frames: Frame[] } {
    let book = this.books.get(connection)
    if (book === undefined) {
      book = { numbers: new Map() }
      this.books.set(connection, book)
    }
    const { numbers } = book
    const key = Buffer.from(planFrame(this.model, 0, placed).payload).toString()
    const known = numbers.get(key)
    if (known !== undefined) return { number: known, frames: [] }
    const number = numbers.size < MAX_PLANS ? numbers.size + 1 : takeOldest(numbers)
    numbers.set(key, number)
    return { number, frames: [planFrame(this.model, number, placed)] }
  }
}

/** The number is registered again for another plan: later `open` frames refer to that one. */
function takeOldest(numbers: Map<string, number>): number {
  const [[key, number]] = numbers
  numbers.delete(key)
  return number
}
