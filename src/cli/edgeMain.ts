import { EDGE_COMMANDS } from './edgeRegistry.ts'
import { runProcess } from './process.ts'

await runProcess(EDGE_COMMANDS)
