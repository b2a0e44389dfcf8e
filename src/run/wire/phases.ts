import { WireError } from './errors.ts'
import { frameName } from './frame.ts'
import { FRAME } from './types.ts'
import type { FrameType } from './types.ts'

/** The client connects and sends hello; the server sends welcome. */
export type Role = 'client' | 'server'

/**
 * greeting -> open -> closing -> closed. `closing`: this side sent bye, queued frames are flushed, and arriving frames
 * are dropped. Every phase may end in `closed` immediately.
 */
export type Phase = 'greeting' | 'open' | 'closing' | 'closed'

type Senders = readonly Role[]
const BOTH: Senders = ['client', 'server']
const CLIENT: Senders = ['client']
const SERVER: Senders = ['server']
const NOBODY: Senders = []

/** Which side may send each type during the greeting, and once open. */
const SENDERS: Readonly<Record<FrameType, { readonly greeting: Senders; readonly open: Senders }>> = {
  [FRAME.hello]: { greeting: CLIENT, open: NOBODY },
  [FRAME.welcome]: { greeting: SERVER, open: NOBODY },
  [FRAME.refuse]: { greeting: BOTH, open: BOTH },
  [FRAME.ping]: { greeting: NOBODY, open: BOTH },
  [FRAME.pong]: { greeting: NOBODY, open: BOTH },
  [FRAME.plan]: { greeting: NOBODY, open: CLIENT },
  [FRAME.open]: { greeting: NOBODY, open: CLIENT },
  [FRAME.tensor]: { greeting: NOBODY, open: BOTH },
  [FRAME.ids]: { greeting: NOBODY, open: BOTH },
  [FRAME.close]: { greeting: NOBODY, open: BOTH },
  [FRAME.report]: { greeting: NOBODY, open: SERVER },
  [FRAME.fail]: { greeting: NOBODY, open: BOTH },
  [FRAME.bye]: { greeting: NOBODY, open: BOTH },
  [FRAME.load]: { greeting: NOBODY, open: SERVER },
}

/** Frames that a connection sends and receives by itself: its users neither send nor receive them. */
const OWN: readonly FrameType[] = [
  FRAME.hello,
  FRAME.welcome,
  FRAME.refuse,
  FRAME.ping,
  FRAME.pong,
  FRAME.bye,
]

/** Whether frames of this type are handled by the connection itself. */
export function isOwnFrame(type: FrameType): boolean {
  return OWN.includes(type)
}

/** The peer's role. */
export function otherRole(role: Role): Role {
  return role === 'client' ? 'server' : 'client'
}

/** Throws WireError (E_WIRE_STATE) if `sender` may not send a frame of this type in `phase`. */
export function checkLegal(sender: Role, phase: Phase, type: FrameType): void {
  const legal = (candidate: FrameType): boolean =>
    (phase === 'greeting' || phase === 'open') && SENDERS[candidate][phase].includes(sender)
  if (legal(type)) return
  const expected = Object.entries(FRAME).flatMap(([name, candidate]) => (legal(candidate) ? [name] : []))
  const what = `frame from the ${sender} while ${phase}`
  throw new WireError('E_WIRE_STATE', what, expected.join(', ') || 'none', frameName(type))
}
