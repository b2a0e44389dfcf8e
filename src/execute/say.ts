import type { Connection, Frame } from '../wire/types.ts'

/** Says something to a peer that may be gone: then nobody is left to hear it. */
export function sayIfOpen(connection: Connection, frame: Frame): void {
  try {
    connection.send(frame)
  } catch {
    // Closed meanwhile; whoever waits for an answer hears of it from the connection.
  }
}
