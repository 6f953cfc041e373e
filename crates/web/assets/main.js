// Makes pages livelier. Every page works without it.

import uPlot from "uplot";

import { startCharts } from "./charts.js";
import { startLive } from "./live.js";
import { startPasskeys } from "./passkeys.js";
import { startPage } from "./page.js";

startPage();
const charts = startCharts(uPlot);
startLive(charts);
startPasskeys();
