#!/usr/bin/env node
import { runProcess } from './process.ts'
import { COMMANDS } from './registry.ts'

await runProcess(COMMANDS)
