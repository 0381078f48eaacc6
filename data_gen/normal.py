"""One form of a text for comparing: width, case, white space and script aside.

Traditional characters are folded onto their simplified ones, so that the same task in the other script is no new one.
Only for comparing: folding 發 and 髮 onto 发 is right there and would be wrong in a text that somebody reads.
"""

from __future__ import annotations

import unicodedata

from data_gen.curriculum.drawing import listed
from data_gen.curriculum.script_pairs import PAIRS

_MORE = listed(
    "后後 发發 发髮 里裡 里裏 干乾 干幹 面麵 系係 系繫 云雲 只隻 只祇 台臺 台檯 复復 复複 钟鐘 钟鍾 松鬆 谷穀 "
    "出齣 斗鬥 丑醜 范範 历歷 历曆 获獲 获穫 尽盡 尽儘 当當 当噹 汇匯 汇彙 团團 团糰 须須 须鬚 表錶 别彆 卷捲 "
    "制製 准準 冲衝 征徵 几幾 姜薑 借藉 困睏 郁鬱 愿願 伙夥 家傢 苏蘇 苏甦 坛壇 坛罈 脏髒 脏臟 周週 游遊 吁籲 "
    "克剋 余餘 舍捨 叶葉 虫蟲 朴樸 恶惡 恶噁 弥彌 弥瀰 摆擺 纤纖 纤縴 签簽 签籤 胡鬍 回迴 致緻 注註 着著 奸姦 "
    "志誌 占佔 布佈 升昇 采採 才纔 并並 并併 欲慾 向嚮 熏燻 炼煉 炼鍊 么麼 么麽 为爲 丢丟 吴吳 吕呂 产産 污汙 "
    "凶兇 床牀 峰峯 群羣 村邨 岩巖 线綫 启啟 启啓 颁頒 颂頌 颇頗 驴驢 驰馳 驱驅 骂罵 骄驕 鉴鑒 鉴鑑 销銷 铺鋪 "
    "链鏈 锋鋒 键鍵 锈鏽 锐銳 锦錦 镶鑲 闲閒 闷悶 闸閘 阁閣 阐闡 阔闊 阵陣 陕陝 隐隱 雏雛 韵韻 饥飢 饥饑 馈饋 "
    "馒饅 纠糾 纯純 纱紗 纲綱 纳納 纵縱 纷紛 纹紋 纺紡 纽紐 绑綁 绕繞 绘繪 绣繡 绪緒 绵綿 缓緩 编編 缘緣 缩縮 "
    "缴繳 罚罰 罢罷 耸聳 聋聾 肠腸 肤膚 肾腎 肿腫 胀脹 胁脅 胆膽 胜勝 胶膠 腊臘 舰艦 艰艱 芦蘆 苍蒼 茎莖 荐薦 "
    "荡蕩 萤螢 营營 蒋蔣 蔷薔 蕴蘊 虑慮 虚虛 蚀蝕 蚕蠶 蛮蠻 蝇蠅 蝉蟬 衔銜 袜襪 袭襲 触觸 誉譽 讨討 讯訊 讶訝 "
    "讽諷 诉訴 诊診 诈詐 诚誠 诞誕 询詢 诱誘 诵誦 诸諸 诺諾 谅諒 谊誼 谋謀 谎謊 谐諧 谜謎 谣謠 谦謙 谨謹 谱譜 "
    "贡貢 贫貧 贤賢 账賬 购購 贯貫 贴貼 贷貸 贱賤 贼賊 赋賦 赌賭 赐賜 赔賠 赖賴 赚賺 赠贈 赢贏 趋趨 践踐 踪蹤 "
    "躯軀 轨軌 轰轟 辅輔 辈輩 辉輝 辐輻 辑輯 辞辭 辩辯 辽遼 迁遷 迈邁 违違 迹跡 逊遜 遗遺 邓鄧 郑鄭 酱醬 酿釀 "
    "释釋 钉釘 钙鈣 钥鑰 铭銘 铸鑄 锡錫 锤錘 乔喬 亏虧 亩畝 仪儀 众眾 伦倫 伪偽 侠俠 侦偵 侨僑 俭儉 债債 倾傾 "
    "偿償 储儲 党黨 兹茲 册冊 冯馮 凉涼 凑湊 凤鳳 凭憑 凯凱 划劃 删刪 剂劑 剧劇 劲勁 勋勛 匀勻 厂廠 厉厲 厌厭 "
    "厕廁 厢廂 厨廚 县縣 参參 叠疊 叹嘆 吓嚇 吗嗎 呐吶 呕嘔 呛嗆 哑啞 哗嘩 哟喲 唤喚 啸嘯 喷噴 嘱囑 圣聖 坟墳 "
    "坝壩 垄壟 垒壘 垦墾 垫墊 埘塒 壮壯 壳殼 壶壺 夹夾 夺奪 奋奮 妆妝 娱娛 娇嬌 婴嬰 婶嬸 宠寵 宪憲 宫宮 宾賓 "
    "寝寢 寻尋 寿壽 尘塵 尝嘗 尧堯 屉屜 屿嶼 岂豈 岗崗 崭嶄 巩鞏 币幣 帅帥 帐帳 帘簾 帜幟 帧幀 庄莊 庙廟 庞龐 "
    "废廢 弃棄 弯彎 弹彈 彻徹 径徑 态態 怀懷 怜憐 恳懇 恼惱 悬懸 惧懼 惨慘 惩懲 愤憤 慑懾 懒懶 戏戲 扑撲 扰擾 "
    "抚撫 抛拋 拟擬 拦攔 拨撥 拣揀 挠撓 挡擋 挣掙 挥揮 捞撈 捡撿 掷擲 揽攬 搀攙 搁擱 搂摟 搅攪 携攜 摄攝 摊攤 "
    "撑撐 敛斂 斋齋 斩斬 昙曇 昼晝 晋晉 暂暫 暧曖 杀殺 杂雜 构構 枢樞 枪槍 枫楓 柜櫃 柠檸 栋棟 栏欄 档檔 桨槳 "
    "检檢 椭橢 榄欖 横橫 檐簷 欧歐 残殘 殴毆 毁毀 毕畢 毙斃 毡氈 汹洶 沦淪 沧滄 泞濘 泻瀉 泼潑 泽澤 浅淺 浆漿 "
    "浇澆 测測 浏瀏 浑渾 浓濃 涂塗 涌湧 润潤 涨漲 渊淵 渐漸 渗滲 溃潰 滞滯 滤濾 滥濫 滨濱 滩灘 潇瀟 潜潛 澜瀾 "
    "濒瀕 炮砲 炽熾 点點 烛燭 烟煙 烦煩 焕煥 牵牽 牺犧 状狀 犹猶 狈狽 狭狹 猎獵 猪豬 献獻 玛瑪 珑瓏 琐瑣 琼瓊 "
    "画畫 畅暢 疮瘡 疯瘋 痒癢 瘫癱 癣癬 皱皺 盏盞 盗盜 睁睜 瞒瞞 矫矯 矿礦 硕碩 祷禱 祸禍 禅禪 种種 秽穢 税稅 "
    "窃竊 窍竅 窑窯 窜竄 窝窩 窥窺 竖豎 笼籠 筑築 筛篩 筹籌 篮籃 粪糞 累纍 缆纜 个個 于於 据據 内內 极極 没沒 "
    "尔爾 负負 吃喫 秘祕 骤驟 继繼 锻鍛 础礎 厘釐 葱蔥 顿頓 奥奧 饰飾 丰豐 碍礙 杰傑 托託 绩績 萨薩 逻邏 脱脫 "
    "栖棲 墙牆 龄齡 悦悅 肴餚 却卻 鹰鷹 摇搖 雇僱 恒恆 湿溼 韧韌 丧喪 鲁魯 腾騰 丛叢 鲍鮑 赞贊 乱亂 谚諺 鳄鱷 "
    "叙敘 轴軸 烁爍 饪飪 莱萊 艳豔 鸣鳴 综綜 忧憂 钮鈕 挚摯 矶磯 氢氫 卢盧 遥遙 扬揚 滚滾 颖穎 飓颶 咨諮 馅餡 "
    "脉脈 涡渦 衬襯 洒灑 飘飄 灿燦 缠纏 颈頸 卧臥 仑侖 谬謬 夸誇 钻鑽 皂皁 峡峽 猬蝟 咸鹹 炖燉 辟闢 娅婭 钦欽 "
    "鹦鸚 鹉鵡 诡詭 缀綴 栈棧 隶隸 谓謂 颠顛 噜嚕 坠墜 侣侶 绽綻 贪貪 杠槓 驼駝 蜡蠟 惫憊 霉黴 沥瀝 鸽鴿 嚣囂 "
    "碱鹼 缝縫 缕縷 捣搗 钠鈉 钾鉀 锯鋸 驳駁 鳞鱗 萧蕭 顽頑 鸥鷗 饲飼 飙飆 凄悽 栅柵 诅詛 涛濤 绎繹 驯馴 鲨鯊 "
    "剥剝 骚騷 疟瘧 涩澀 韦韋 辖轄 瘾癮 筝箏 诀訣 讼訟 缤繽 绚絢 鸿鴻 猕獼 尸屍 轶軼 狱獄 尴尷 鳕鱈 叽嘰 诠詮 "
    "秃禿 颤顫 稣穌 钴鈷 栗慄 腌醃 绒絨 咙嚨 镁鎂 巅巔 贾賈 骆駱 届屆 绊絆 赁賃 鸦鴉 骡騾 疱皰 阀閥 钩鉤 樱櫻 "
    "拧擰 晕暈 绸綢 阈閾 缅緬 铝鋁 萦縈 涟漣 堕墮 渍漬 灶竈 吨噸 锥錐 茧繭 谍諜 旷曠 啮齧 麸麩 钋釙 虏虜 瞩矚 "
    "贩販 谔諤 篱籬 闯闖 坞塢 昵暱 闰閏 笋筍 缭繚 缚縛 镍鎳 橱櫥 涤滌 绅紳 蔼藹 厦廈 缪繆 驻駐 獭獺 鲼鱝 鳍鰭 "
    "腻膩 镳鑣 铋鉍 龈齦 刹剎 冈岡 耻恥 氩氬 舆輿 莹瑩 呜嗚 唇脣 陨隕 轿轎 钝鈍 驭馭 镭鐳 嘘噓 诙詼 赎贖 纶綸 "
    "髅髏 酝醞 烬燼 胧朧 谧謐 讳諱 贬貶 觅覓 镑鎊 馄餛 饨飩 溅濺 馁餒 纬緯 鲶鯰 铍鈹 鲑鮭 鹤鶴 兑兌 洼窪 羁羈 "
    "淀澱 鸵鴕 蜕蛻 凛凜 颞顳 仆僕 鼹鼴 贻貽 鲤鯉 惬愜 锔鋦 佣傭 垩堊 匮匱 荟薈 弑弒 槟檳 钳鉗 铲鏟 钪鈧 钇釔 "
    "铕銪 钆釓 铽鋱 镝鏑 钬鈥 铒鉺 铥銩 镱鐿 镥鑥 钷鉕 铛鐺 阂閡 颊頰 荫蔭 飒颯 桦樺 槛檻 芜蕪 舱艙 骛騖 鹪鷦 "
    "鹩鷯 鳟鱒 蝾蠑 镯鐲 锉銼 锶鍶 钡鋇 鹨鷚 鹮䴉 绷繃 榈櫚 蚝蠔 掺摻 绞絞 莳蒔 啬嗇 凿鑿 钌釕 莺鶯 贿賄 赂賂 "
    "彦彥 睐睞 辫辮 馏餾 哒噠 辍輟 缰繮 俩倆 镧鑭 藓蘚 锑銻 谴譴 忏懺 羡羨 缔締 颓頹 蓟薊 骇駭 瘪癟 诫誡 饶饒 "
    "鳉鱂 浊濁 桩樁 鲭鯖 赃贓 谲譎 轧軋 烩燴 锂鋰 镐鎬 鹭鷺 亵褻 渎瀆 钞鈔 鹃鵑 锹鍬 鹌鵪 鹑鶉"
)
_FOLD = {ord(pair[1]): pair[0] for pair in (*PAIRS, *_MORE)}
_SIMPLE = set(map(ord, _FOLD.values())) - _FOLD.keys()


def simplified(text: str) -> str:
    """The same number of characters, those of the traditional script as their simplified ones."""
    return text.translate(_FOLD)


def leaning(text: str) -> int:
    """Above 0: more traditional than simplified characters; below: fewer; 0: as good as either script."""
    codes = list(map(ord, text))
    return sum(code in _FOLD for code in codes) - sum(code in _SIMPLE for code in codes)


def folded(text: str) -> str:
    """NFKC, small letters, simplified characters."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_FOLD)


def normalised(text: str) -> str:
    """One form for what differs in width, case, script, white space and closing punctuation only."""
    return "".join(folded(text).split()).rstrip("。.!?,;:…~")


def characters(text: str) -> str:
    """What ROUGE-L compares: letters, digits and 汉字, one token a character; no space and no punctuation."""
    return "".join(filter(str.isalnum, folded(text)))
